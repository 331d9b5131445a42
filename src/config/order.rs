//! The order in which the Java daemon walks the entries of a file.
//!
//! It matters when two keys write the same setting, or when two keys are fatal: which one is reported first.
//!
//! Source: JDK 9 and later, `java.util.Properties` over `ConcurrentHashMap`; CONFIGURATION section 3.

/// Puts `keys`, given in the order of the file, into the order of Java's walk; gives their indexes.
#[must_use]
pub fn walk(keys: &[&str]) -> Vec<usize> {
    let hashes: Vec<u32> = keys.iter().map(|key| spread(key)).collect();
    let mut bins: Vec<Vec<usize>> = vec![Vec::new(); 16];
    for index in 0..keys.len() {
        let bin = bin_of(hashes[index], bins.len());
        bins[bin].push(index);
        while index + 1 >= bins.len() / 4 * 3 {
            bins = doubled(&bins, &hashes);
        }
    }
    bins.concat()
}

/// Java's string hash, spread as `ConcurrentHashMap.spread` does.
fn spread(key: &str) -> u32 {
    let hash = key.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash ^ (hash >> 16)) & 0x7fff_ffff
}

fn bin_of(hash: u32, size: usize) -> usize {
    hash as usize & (size - 1)
}

/// Source: JDK 17 `ConcurrentHashMap.transfer`: the longest tail that stays together keeps its order, each
/// earlier member goes to the front of its side.
fn doubled(bins: &[Vec<usize>], hashes: &[u32]) -> Vec<Vec<usize>> {
    let size = bins.len() * 2;
    let mut wider: Vec<Vec<usize>> = vec![Vec::new(); size];
    for bin in bins {
        let target = |index: usize| bin_of(hashes[index], size);
        let Some(&last) = bin.last() else { continue };
        let tail = bin.iter().rposition(|&index| target(index) != target(last)).map_or(0, |before| before + 1);
        wider[target(last)].extend_from_slice(&bin[tail..]);
        for &index in &bin[..tail] {
            wider[target(index)].insert(0, index);
        }
    }
    wider
}
