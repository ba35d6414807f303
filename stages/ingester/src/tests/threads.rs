use crate::testing::{Rig, config};
use crate::{Compute, Config};

/// On real threads and in real time: whatever is sealed, stored and listed meanwhile, an answer holds exactly the
/// records from the asked offset through the one it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_are_exact_while_everything_moves() {
    const SPANS: u64 = 3000;
    let mut rig = Rig::prepare_with(Config { rows_max: 50, ..config() }, Compute::Threads).await;
    rig.run();
    rig.consumed(0, 0).await;
    let append = async {
        for batch in 0..SPANS / 10 {
            rig.append_spans(batch * 10..(batch + 1) * 10).await;
            tokio::task::yield_now().await;
        }
    };
    let ask = async || {
        let mut from = 0;
        loop {
            let (numbers, through) = rig.ask(from).await.unwrap();
            assert_eq!(numbers, (from..through).collect::<Vec<_>>());
            if through == SPANS {
                return;
            }
            from = rig.state().await.end().0;
        }
    };
    tokio::join!(append, ask(), ask(), ask());
    rig.stop().await;
    let state = rig.state().await;
    assert_eq!(state.end().0, SPANS);
    assert_eq!(state.live().iter().map(|block| block.rows).sum::<u64>(), SPANS);
    rig.entries().await;
}
