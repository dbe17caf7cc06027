//! A journal that grows, is damaged, cut short and archived while it is followed. Whatever happens to it, no entry is given
//! twice; and as long as nothing happens to it, none is lost.
#![no_main]
#![allow(clippy::disallowed_types)] // of the macro

use std::os::unix::fs::FileExt as _;

use libfuzzer_sys::fuzz_target;
use nodetriage_fuzz::journal::cache::Cache;
use nodetriage_fuzz::journal::file::{Entry, JournalFile};
use nodetriage_fuzz::{Journal, file, seed, variant};

fuzz_target!(init: seed("follow"), |input: &[u8]| {
    let Some((choice, acts)) = input.split_first() else { return };
    let (compact, keyed, packing) = variant(*choice);
    let mut journal = Journal::new(compact, keyed, packing);
    let mut lines = 0;
    for _ in 0..3 {
        journal.line(lines);
        lines += 1;
    }
    let handle = file(journal.bytes());
    let mut cache = Cache::default();
    let mut followed = JournalFile::new(handle.try_clone().unwrap(), "fuzz.journal".to_owned(), 1).unwrap();
    let mut chain = followed.all(&mut cache).unwrap();
    let (mut done, mut last, mut whole, mut entry) = (0, 0, true, Entry::default());
    for act in acts.as_chunks::<3>().0.iter().take(64) {
        let [act, high, low] = *act;
        let place = u64::from(u16::from_be_bytes([high, low]));
        match act % 8 {
            0 => {
                for _ in 0..high % 16 {
                    journal.line(lines);
                    lines += 1;
                }
                handle.write_all_at(journal.bytes(), 0).unwrap();
            }
            1 => {
                handle.write_all_at(&[low], place).unwrap();
                whole = false;
            }
            2 => {
                handle.set_len(place).unwrap();
                whole = false;
            }
            3 => {
                handle.write_all_at(&[2], 16).unwrap();
            }
            4 => {
                handle.write_all_at(&u64::from(low).to_le_bytes(), (place >> 3) << 3).unwrap();
                whole = false;
            }
            _ => {
                let learned = followed.entries_now().and_then(|count| {
                    if count != chain.len() {
                        followed.refresh()?;
                        followed.extend(&mut cache, &mut chain)?;
                    }
                    Ok(())
                });
                assert!(learned.is_ok() || !whole, "{learned:?}");
                while done < chain.len() && done < 100_000 {
                    let offset = chain.get(&followed, &mut cache, done);
                    done += 1;
                    let read = offset.map(|offset| offset.map(|offset| followed.entry(&mut cache, offset, &mut entry)));
                    if whole {
                        assert!(matches!(read, Ok(Some(Ok(())))), "{read:?}");
                        assert_eq!(entry.head.seqnum, done);
                        assert!(entry.head.offset > last);
                        last = entry.head.offset;
                    }
                }
                assert!(!whole || done == lines, "{done} of {lines}");
            }
        }
    }
});
