//! The built binary as a person meets it: started, killed, asked by stock kubectl, curl, dig and nft, and looked for
//! afterwards. Needs user namespaces and those programs; what is missing fails with a line that says what to install.

mod account;
mod careless;
mod commands;
mod demo;
mod detached;
mod disk;
mod documents;
mod exits;
mod explain;
mod golden;
mod guide;
mod host;
mod host_mode;
mod host_untouched;
mod interrupted;
mod kill9;
mod networks;
mod open;
mod output;
mod processes;
mod publish;
mod refused;
mod restart;
mod sandbox;
mod security;
mod seeds;
mod services;
mod stock;
mod store;
mod streams;
mod terminal;
mod trace;
mod types;
mod whose;
mod workloads;
