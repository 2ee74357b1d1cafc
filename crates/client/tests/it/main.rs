//! Integration tests: the client against an in-process core, directly and through a gateway,
//! and the program as a process.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod library;
#[cfg(test)]
mod program;
#[cfg(test)]
mod scripted_server;
#[cfg(test)]
mod terminal;
