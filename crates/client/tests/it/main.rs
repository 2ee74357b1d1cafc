//! The client against a real core in this process, straight and through a gateway, and the
//! program as a process.

#[cfg(test)]
mod library;
#[cfg(test)]
mod program;
#[cfg(test)]
mod silent;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod world;
