//! Rules that no database knows of: what is decided here, both of them do. Pure functions over what was read.

mod merge;
mod delivery;
mod repetition;
mod answer;
mod ending;
mod died;
mod refusal;
mod redrive;

pub(crate) use answer::last_answer;
pub(crate) use delivery::{Delivery, Line, Taken, Wait};
pub(crate) use died::{Died, Published};
pub(crate) use ending::{
    DeadLetterColumns, End, Ending, Parent, corrected_state, ending, last_error, last_status, order_of,
};
pub(crate) use redrive::{redrive_ends, state_after};
pub(crate) use refusal::{Candidate, Chosen, Verdict};
pub(crate) use repetition::{Used, repeated};
