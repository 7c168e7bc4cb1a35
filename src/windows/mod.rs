//! A Windows install seen from outside: where it lies, which one it is, and the places in its registry and on its
//! disk whose meaning is Windows' own. Knows no worm.

pub mod boot_ini;
pub mod command_line;
pub mod control_set;
pub mod event_log;
pub mod file_version;
pub mod install;
pub mod own_files;
pub mod pending;
pub mod prefetch;
pub mod recycle_bin;
pub mod restore_points;
