#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = meshkit_fuzz::fault_annotations::run(data);
});
