//! One fuzz target: see `warifu_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| warifu_fuzz::log(data));
