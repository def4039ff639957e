#![no_main]
//! See `erluv_tests::fuzz::control`.
libfuzzer_sys::fuzz_target!(|data: &[u8]| erluv_tests::fuzz::control(data));
