//! Parses, chooses a front end, prints one error with its chain, returns the exit code; nothing else.

fn main() {}
