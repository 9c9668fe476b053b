//! A pretend world for the machines of a round: net, disks, clock and log, all driven by hand. Knows no socket, no file, no real
//! time and no cipher; signatures are real, sealed updates are a bit per client. Only [`files`] is of the real one.
//!
//! What counts as failure is written once, in [`books`]; everything else only moves events about.

pub mod aggregator;
pub mod books;
pub mod files;
pub mod fixture;
pub mod log;
pub mod net;
pub mod site;
pub mod world;
