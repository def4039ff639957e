#![no_main]
//! See `erluv_tests::fuzz::ipc_to_main`.
libfuzzer_sys::fuzz_target!(|data: &[u8]| erluv_tests::fuzz::ipc_to_main(data));
