//! Every directory that a power loss could leave.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    platter::{Content, Entry, Platter},
    recorder::Event,
};

const SECTOR: usize = 512;

/// Subsets of sectors taken by chance for one write, besides the chosen ones.
const CHANCES: u64 = 6;

/// What a power loss leaves: directories, and files with their content.
pub(super) type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Each image that a power loss at some moment of the story could leave, with the number of acts that
/// were acknowledged by then. An image that several moments could leave counts for the last of them,
/// when most was acknowledged. `stride`: every how many bytes a write is torn.
pub(super) fn every_image(
    (begun, log): (Platter, Vec<Event>),
    from: usize,
    stride: usize,
) -> Vec<(Image, usize)> {
    let mut moments = Vec::new();
    let (mut platter, mut acknowledged) = (begun, 0);
    for (number, event) in log.iter().enumerate() {
        platter.apply(event);
        if let Event::Acknowledged(acts) = event {
            acknowledged = *acts;
        }
        if number >= from {
            moments.push((platter.clone(), acknowledged));
        }
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (platter, acknowledged) in moments.iter().rev() {
        for image in images(platter, stride) {
            if seen.insert(digest(&image)) {
                found.push((image, *acknowledged));
            }
        }
    }
    found
}

/// What is left if nothing unsynced was written.
pub(super) fn synced_only(platter: &Platter) -> Image {
    image(platter, 0, &|content| content.durable.clone())
}

fn images(platter: &Platter, stride: usize) -> Vec<Image> {
    let mut found = Vec::new();
    for names in 0..=platter.pending_names() {
        found.push(image(platter, names, &|content| content.durable.clone()));
        found.push(image(platter, names, &Content::written));
    }
    // One file is written at a time; the lock's is nobody's concern.
    let all = platter.pending_names();
    for (number, content) in platter.contents().iter().enumerate() {
        if content.durable == content.written() {
            continue;
        }
        for variant in variants(content, number as u64, stride) {
            let choose = |other: &Content| {
                if std::ptr::eq(other, content) {
                    variant.clone()
                } else {
                    other.written()
                }
            };
            found.push(image(platter, all, &choose));
        }
    }
    found
}

/// What may be left of a file that was being written: torn at bytes, with sectors missing, with its
/// length and nothing else.
fn variants(content: &Content, seed: u64, stride: usize) -> Vec<Vec<u8>> {
    let (old, new) = (&content.durable, &content.written());
    let common = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| old == new)
        .count();
    let torn = (common..new.len()).step_by(stride).map(|end| {
        let mut torn = new[..end].to_vec();
        torn.extend(old.iter().skip(end));
        torn
    });
    let mut found: Vec<Vec<u8>> = torn.collect();
    let length = old.len().max(new.len());
    let sectors: Vec<usize> = (common / SECTOR..length.div_ceil(SECTOR)).collect();
    let mut masks: Vec<Vec<bool>> = vec![vec![false; sectors.len()]];
    for one in 0..sectors.len() {
        masks.push((0..sectors.len()).map(|sector| sector != one).collect());
        masks.push((0..sectors.len()).map(|sector| sector == one).collect());
    }
    let mut chance = seed
        .wrapping_add(length as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        | 1;
    for _ in 0..CHANCES {
        let mask = sectors.iter().map(|_| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance & 1 == 1
        });
        masks.push(mask.collect());
    }
    for mask in masks {
        for length in [old.len(), new.len()] {
            found.push(mix(old, new, &sectors, &mask, length));
        }
    }
    found
}

/// The old content with the sectors of `mask` from the new one.
fn mix(old: &[u8], new: &[u8], sectors: &[usize], mask: &[bool], length: usize) -> Vec<u8> {
    let mut mixed = old.to_vec();
    mixed.resize(length, 0);
    for (sector, _) in sectors.iter().zip(mask).filter(|(_, taken)| **taken) {
        let from = (sector * SECTOR).min(length);
        let to = ((sector + 1) * SECTOR).min(length).min(new.len());
        if from < to {
            mixed[from..to].copy_from_slice(&new[from..to]);
        }
    }
    mixed
}

fn image(platter: &Platter, names: usize, choose: &dyn Fn(&Content) -> Vec<u8>) -> Image {
    let names = platter.names(names);
    let entries = names.into_iter().map(|(path, entry)| match entry {
        Entry::Directory => (path, None),
        Entry::File(number) => (path, Some(choose(&platter.contents()[number]))),
    });
    entries.collect()
}

fn digest(image: &Image) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (path, bytes) in image {
        // The lock's content decides nothing.
        let is_lock = path.ends_with("lock");
        let bytes = bytes.as_deref().filter(|_| !is_lock);
        let name = path.to_str().unwrap();
        for part in [name.as_bytes(), bytes.unwrap_or_default()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().into()
}

/// Puts an image of what was under `from` under `to`.
pub(super) fn restore(image: &Image, from: &Path, to: &Path) {
    for (path, bytes) in image {
        let Ok(name) = path.strip_prefix(from) else {
            continue;
        };
        let target = to.join(name);
        match bytes {
            None => fs::create_dir_all(target).unwrap(),
            Some(bytes) => fs::write(target, bytes).unwrap(),
        }
    }
}
