//! What takes long: asked for by `scripts/test vm` alone. `scripts/test` leaves out whatever is in this module, by its name.

mod bench;
mod booted;
mod guided;
mod left_alone;
mod memory;
mod network;
mod screen;
mod secure_boot;
