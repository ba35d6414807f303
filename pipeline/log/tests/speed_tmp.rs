#![allow(missing_docs)]
use std::sync::Arc;
use std::fs;
use std::time::Duration;
use bytes::Bytes;
use vivace_log::*;
use vivace_model::*;
fn cpu() -> (f64,f64) {
    let s = fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap()/100.0, f[12].parse::<f64>().unwrap()/100.0)
}
#[tokio::test(flavor="multi_thread", worker_threads=2)]
#[ignore = "x"]
async fn speed() {
    for (size, total, tasks, pause) in [(100_000usize, 2_000_000_000usize, 16usize, 0u64), (25_000, 2_000_000_000, 64, 0), (1000, 200_000_000, 64, 0), (100_000, 400_000_000, 4, 10)] {
        let dir = tempfile::TempDir::new_in("/work").unwrap();
        let log = LocalLog::open(dir.path(), LocalConfig::default()).unwrap();
        log.ensure_topic(&TopicSpec{name:"t".into(),partitions:4,replication:1,retention:Retention::Time(Duration::from_secs(1))}).await.unwrap();
        let mut data = vec![0u8; size*2]; let mut x=1u64; for b in &mut data { x^=x<<13; x^=x>>7; x^=x<<17; *b = x as u8; }
        let data = Bytes::from(data);
        let (u0,s0)=cpu(); let t=tokio::time::Instant::now();
        let per = total/size/tasks/4;
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..tasks { let (log,data)=(Arc::clone(&log), data.clone()); set.spawn(async move {
            for i in 0..per {
                let r = (0..4).map(|p| NewRecord{partition:Partition(p),key:None,headers:vec![],value:data.slice((i*7)%size..(i*7)%size+size)}).collect();
                log.append("t", r).await.unwrap();
                if pause>0 { tokio::time::sleep(Duration::from_millis(pause*4)).await; }
            }
        }); }
        set.join_all().await;
        let (u1,s1)=cpu(); let w=t.elapsed().as_secs_f64(); let gb = (per*tasks*4*size) as f64/1e9;
        println!("size {size} append: {:.0} MB/s, cpu/GB user {:.3} sys {:.3}", gb*1000.0/w,(u1-u0)/gb,(s1-s0)/gb);
        let t=tokio::time::Instant::now();
        for p in 0..4 { let mut r = log.read("t", Partition(p), Offset(0)).await.unwrap(); let end = log.watermarks("t",Partition(p)).await.unwrap().end; let mut at=Offset(0);
            while at<end { let v = r.next(1<<20).await.unwrap(); at = v.last().unwrap().offset.next(); } }
        let (u2,s2)=cpu(); println!("   read: {:.0} MB/s cpu/GB user {:.3} sys {:.3}", gb*1000.0/t.elapsed().as_secs_f64(),(u2-u1)/gb,(s2-s1)/gb);
        drop(log); let t=tokio::time::Instant::now(); let log = LocalLog::open(dir.path(), LocalConfig::default()).unwrap(); println!("   reopen {:.3}s", t.elapsed().as_secs_f64()); drop(log);
    }
}
