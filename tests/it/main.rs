//! The scenarios, in one binary: it links once, and shares one broker.

mod harness;

// What scenarios have in common.
mod checkout;
mod crowd;
mod ending;
mod images;
mod link;
mod load;
mod operator;
mod own_node;
mod probe;
mod scrape;
mod stores;

// In the order of the flow, then what can go wrong, then the repository itself.
mod journey;
mod waiting;
mod events;
mod lists;
mod batch;
mod keys;
mod clients;
mod duplicates;
mod messages;
mod retries;
mod dead_letters;
mod redrives;
mod reconciliation;
mod isolation;
mod backlog;
mod outage;
mod broker;
mod postgres;
mod supervision;
mod crash;
mod shutdown;
mod upgrade;
mod settings;
mod doctor;
mod cli;
mod logs;
mod observability;
mod compose;
mod repository;
mod documents;
