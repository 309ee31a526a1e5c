//! Removes images that nothing uses when the disk gets full.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use knarr_runtime::Image;
use tokio::time::Instant;

use crate::{Config, machine};

const LOOK: Duration = Duration::from_secs(300);
/// Percent of the disk in use from which images go, and down to which.
const HIGH: i64 = 85;
const LOW: i64 = 80;
/// Images younger than this stay: a pod may be about to use them.
const MIN_AGE: Duration = Duration::from_secs(120);

/// How many bytes have to be freed. Pure.
fn to_free(size: i64, free: i64) -> u64 {
    if size <= 0 || (size - free) * 100 / size < HIGH {
        return 0;
    }
    u64::try_from(size / 100 * (100 - LOW) - free).unwrap_or(0)
}

/// The images to remove: unused, oldest use first, until enough is freed. Pure.
fn victims(
    images: &[Image],
    used: &HashSet<String>,
    last_used: &HashMap<String, Duration>,
    bytes: u64,
) -> Vec<String> {
    let idle = |i: &Image| last_used.get(&i.id).copied().unwrap_or_default();
    let mut free: Vec<&Image> = images
        .iter()
        .filter(|i| !i.pinned && !used.contains(&i.id) && idle(i) >= MIN_AGE)
        .collect();
    free.sort_by_key(|i| std::cmp::Reverse(idle(i)));
    let mut left = bytes;
    let mut out = Vec::new();
    for image in free {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(image.size);
        out.push(image.id.clone());
    }
    out
}

/// Looks after the disk, for ever.
pub async fn run(config: Arc<Config>) {
    let mut last_used: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let (Ok(images), Ok(containers)) = (
            config.runtime.images().await,
            config.runtime.containers().await,
        ) else {
            continue;
        };
        let used: HashSet<String> = containers.into_iter().map(|c| c.image_id).collect();
        last_used.retain(|id, _| images.iter().any(|i| i.id == *id));
        for image in &images {
            let seen = last_used
                .entry(image.id.clone())
                .or_insert_with(Instant::now);
            if used.contains(&image.id) {
                *seen = Instant::now();
            }
        }
        let Some((size, free)) = machine::disk(&config.root_dir) else {
            continue;
        };
        let bytes = to_free(size, free);
        let idle = last_used
            .iter()
            .map(|(id, at)| (id.clone(), at.elapsed()))
            .collect();
        for id in victims(&images, &used, &idle, bytes) {
            tracing::info!(
                image = id,
                "removing an unused image: the disk is nearly full"
            );
            if let Err(error) = config.runtime.remove_image(&id).await {
                tracing::warn!(image = id, %error, "image not removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        assert_eq!(to_free(1000, 200), 0);
        assert_eq!(to_free(1000, 100), 100);
        assert_eq!(to_free(0, 0), 0);
    }

    #[test]
    fn the_longest_unused_go_first() {
        let image = |id: &str, pinned| Image {
            id: id.into(),
            repo_tags: vec![],
            repo_digests: vec![],
            size: 10,
            user: String::new(),
            volumes: vec![],
            pinned,
        };
        let images = [
            image("young", false),
            image("old", false),
            image("older", false),
            image("used", false),
            image("pinned", true),
        ];
        let idle = |s: u64| Duration::from_secs(s);
        let last = HashMap::from([
            ("young".into(), idle(5)),
            ("old".into(), idle(500)),
            ("older".into(), idle(900)),
            ("pinned".into(), idle(900)),
        ]);
        let used = HashSet::from(["used".to_owned()]);
        assert_eq!(victims(&images, &used, &last, 5), ["older"]);
        assert_eq!(victims(&images, &used, &last, 100), ["older", "old"]);
        assert!(victims(&images, &used, &last, 0).is_empty());
    }
}
