//! What a crash or a bad disk may leave behind.

use std::fs::OpenOptions;
use std::io::Write;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;

/// What happens to the last segment.
#[derive(Clone, Debug)]
enum Damage {
    Cut { to: prop::sample::Index },
    Flip { at: prop::sample::Index, bit: u8 },
    Zero { from: prop::sample::Index },
    Append { garbage: Vec<u8> },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(|to| Damage::Cut { to }),
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        any::<prop::sample::Index>().prop_map(|from| Damage::Zero { from }),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(|garbage| Damage::Append { garbage }),
        Just(Damage::Append { garbage: vec![0; 100_000] }),
    ]
}

/// Damages the file behind its header and gives the position of the first damaged byte.
fn inflict(damage: &Damage, bytes: &mut Vec<u8>, header_len: usize) -> usize {
    let frames = bytes.len() - header_len;
    match damage {
        Damage::Cut { to } => {
            let at = header_len + to.index(frames);
            bytes.truncate(at);
            at
        }
        Damage::Flip { at, bit } => {
            let at = header_len + at.index(frames);
            bytes[at] ^= 1 << bit;
            at
        }
        Damage::Zero { from } => {
            let at = header_len + from.index(frames);
            bytes[at..].fill(0);
            at
        }
        Damage::Append { garbage } => {
            bytes.extend_from_slice(garbage);
            bytes.len() - garbage.len()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_lies_before_the_damage_is_kept(
        sizes in prop::collection::vec(0..300_usize, 1..40),
        damage in damage(),
        partitions in 1..4_u32,
    ) {
        let dir = TempDir::new().unwrap();
        Runtime::new().unwrap().block_on(async {
            let log = open_topic(dir.path(), partitions).await;
            // Where each frame ends, and its partition and offset.
            let header_len = segment::header_len(partitions as usize) as usize;
            let (mut end, mut frames) = (header_len, Vec::new());
            for (number, &size) in sizes.iter().enumerate() {
                let record = record(number as u32 % partitions, number, size);
                let (partition, value) = (record.partition, record.value.clone());
                let offset = append(&log, record).await.unwrap();
                end += frame::FrameHeader::LEN + 6 + value.len();
                frames.push((end, partition, offset, value));
            }
            drop(log);
            let path = segments(dir.path()).pop().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), end, "one segment holds all");
            let damaged_at = inflict(&damage, &mut bytes, header_len);
            fs::write(&path, &bytes).unwrap();

            let log = open_topic(dir.path(), partitions).await;
            for (end, partition, offset, value) in frames {
                if end <= damaged_at {
                    let records = read(&log, partition, offset).await.unwrap();
                    assert_eq!((records[0].offset, &records[0].value), (offset, &value));
                }
            }
            // It goes on, and is clean when it is opened again.
            let next = log.watermarks(TOPIC, ZERO).await.unwrap().end;
            assert_eq!(append(&log, record(0, 7, 10)).await.unwrap(), next);
            drop(log);
            let log = open(dir.path());
            assert_eq!(read(&log, ZERO, next).await.unwrap()[0].value, record(0, 7, 10).value);
        });
    }
}

/// Fills several segments and gives their files.
async fn filled(dir: &Path) -> Vec<PathBuf> {
    let log = open_topic(dir, 1).await;
    for number in 0..50 {
        append(&log, record(0, number, 1000)).await.unwrap();
    }
    segments(dir)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn open_error(dir: &Path) -> String {
    match LocalLog::open(dir, config()) {
        Err(LogError::Corrupt(text)) => text,
        other => panic!("it is damaged: {other:?}"),
    }
}

#[tokio::test]
async fn damage_in_an_earlier_segment_is_named() {
    let dir = TempDir::new().unwrap();
    let files = filled(dir.path()).await;
    let frame_len = frame::FrameHeader::LEN + 6 + 1000;
    let position = segment::header_len(1) as usize + 3 * frame_len;
    flip(&files[1], position + 5);
    let text = open_error(dir.path());
    assert!(
        text.contains(files[1].to_str().unwrap()) && text.contains(&format!("position {position}")),
        "{text}"
    );
}

#[tokio::test]
async fn damage_of_an_earlier_value_is_named_when_it_is_read() {
    let dir = TempDir::new().unwrap();
    let files = filled(dir.path()).await;
    let position = segment::header_len(1) as usize;
    flip(&files[1], position + 500);
    let log = open(dir.path());
    let Err(LogError::Corrupt(text)) = read(&log, ZERO, Offset(0)).await else { panic!("it is damaged") };
    assert!(
        text.contains(files[1].to_str().unwrap()) && text.contains(&format!("position {position}")),
        "{text}"
    );
}

#[tokio::test]
async fn missing_and_cut_segments_and_headers_are_named() {
    let dir = TempDir::new().unwrap();
    let files = filled(dir.path()).await;
    let bytes = fs::read(&files[1]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert!(open_error(dir.path()).contains("missing"));
    fs::write(&files[1], &bytes[..bytes.len() - 1]).unwrap();
    assert!(open_error(dir.path()).contains("cut off"));
    // A whole frame less: only the next segment's header tells.
    let frame_len = frame::FrameHeader::LEN + 6 + 1000;
    fs::write(&files[1], &bytes[..bytes.len() - frame_len]).unwrap();
    open(dir.path());
    fs::write(&files[1], &bytes).unwrap();
    for path in [&files[0], files.last().unwrap()] {
        flip(path, 20);
        assert!(open_error(dir.path()).contains("header"));
        flip(path, 20);
    }
    open(dir.path());
}

#[tokio::test]
async fn leftovers_of_an_interrupted_creation_are_harmless() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("half")).unwrap();
    fs::write(dir.path().join("half").join(format!("{:020}.log", 0)), "half").unwrap();
    let last = filled(dir.path()).await.pop().unwrap();
    let new = last.with_file_name(format!("{:020}.new", 99));
    fs::write(&new, "half").unwrap();
    let log = open_topic(dir.path(), 1).await;
    assert!(!new.exists());
    assert_eq!(read(&log, ZERO, Offset(0)).await.unwrap().len(), 50);
    log.ensure_topic(&TopicSpec { name: "half".into(), ..spec(3) }).await.unwrap();
    assert_eq!(log.watermarks("half", Partition(2)).await.unwrap().end, Offset(0));
}

#[tokio::test]
async fn offsets_that_were_committed_are_never_given_again() {
    let dir = TempDir::new().unwrap();
    let log = open_topic(dir.path(), 1).await;
    for number in 0..10 {
        append(&log, record(0, number, 10)).await.unwrap();
    }
    // A second group, so that nothing is deleted.
    drop(log.join(TOPIC, "other").await.unwrap());
    let mut member = log.join(TOPIC, "g").await.unwrap();
    member.next().await.unwrap();
    member.commit(ZERO, Offset(8)).await.unwrap();
    assert!(member.commit(ZERO, Offset(11)).await.is_err());
    drop((log, member));
    let path = segments(dir.path()).pop().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(segment::header_len(1) + 100).unwrap();
    for _ in 0..2 {
        let log = open_topic(dir.path(), 1).await;
        let watermarks = log.watermarks(TOPIC, ZERO).await.unwrap();
        assert!(watermarks.end >= Offset(8), "{watermarks}");
        assert!(append(&log, record(0, 1, 10)).await.unwrap() >= Offset(8));
        let read = log.read(TOPIC, ZERO, Offset(5)).await.unwrap().next(1).await.unwrap();
        assert_eq!(read[0].offset, Offset(8), "the hole is read over");
    }
}

#[tokio::test]
async fn damaged_small_files_are_named() {
    for (name, text) in [("topic.json", "{"), ("groups.json", "{\"groups\":{\"g\":[1,2]}}")] {
        let dir = TempDir::new().unwrap();
        filled(dir.path()).await;
        let path = dir.path().join(TOPIC).join(name);
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(open_error(dir.path()).contains(name));
    }
}
