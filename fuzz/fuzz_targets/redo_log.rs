#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lampyrid_migration::testkit::fuzz::redo_log(bytes));
