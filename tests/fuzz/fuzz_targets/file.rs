//! Any bytes as a journal file, read in every way there is.
#![no_main]
#![allow(clippy::disallowed_types)] // of the macro

use libfuzzer_sys::fuzz_target;
use nodetriage_fuzz::{file, read, seed};

fuzz_target!(init: seed("file"), |bytes: &[u8]| {
    read(file(bytes));
});
