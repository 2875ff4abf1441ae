#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lampyrid::testkit::fuzz::hello(bytes));
