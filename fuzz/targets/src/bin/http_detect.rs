#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = meshkit_fuzz::http_detect::run(data);
});
