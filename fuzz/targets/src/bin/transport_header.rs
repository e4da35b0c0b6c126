#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = meshkit_fuzz::transport_header::run(data);
});
