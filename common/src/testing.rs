//! Tools for those who write a destination.
