//! The scenarios, in one binary, which links once and shares one broker.

mod harness;

// What scenarios have in common.
mod checkout;
mod stores;
mod orders;
mod load;
mod operator;
mod probe;
mod exit;
mod broker_proxy;
mod own_broker;
mod images;

// In the order of the flow, then faults, then the repository itself.
mod journey;
mod waiting;
mod waits;
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
mod full_queue;
mod circuit;
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
