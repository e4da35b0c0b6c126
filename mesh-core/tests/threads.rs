//! Every word can be sent to another thread, and looked at by several.

use meshkit_core::{
    Answer, Authority, Backoff, Cause, Dice, Endpoint, Error, Host, Identity, Outcome, ProtocolHint, Ratio, SystemClock, Update, drain,
    grpc::Code,
};

const fn is_shared<T: Send + Sync + 'static>() {}

#[test]
fn words_belong_to_no_thread() {
    is_shared::<(Answer, Authority, Backoff, Cause, Dice, Endpoint)>();
    is_shared::<(Error, Host, Identity, Outcome, ProtocolHint, Ratio)>();
    is_shared::<(SystemClock, Update, drain::Signal, drain::Watch, Code)>();
}

#[tokio::test]
async fn a_drain_waits_for_watches_of_other_threads() {
    let (signal, watch) = drain::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let watch = watch.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
                runtime.block_on(async { drop(watch.signaled().await) });
            })
        })
        .collect();
    drop(watch);
    signal.drain().await;
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
}
