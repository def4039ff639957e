#![no_main]
//! See `erluv_tests::fuzz::etf`.
libfuzzer_sys::fuzz_target!(|data: &[u8]| erluv_tests::fuzz::etf(data));
