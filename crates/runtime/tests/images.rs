//! Images from archives: what is stacked is what was meant, and nothing of a bad archive reaches the disk.

mod common;

use std::{
    io::{Cursor, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use common::{Fixture, busybox_image, can_run, shell, unique};
use flate2::{Compression, write::GzEncoder};
use knarr_runtime::{
    ContainerConfig, Runtime,
    images::{ImageBuilder, ImageStore, digest_of},
};
use serde_json::json;
use tar::{Builder, EntryType, Header};

struct Store {
    store: ImageStore,
    dir: PathBuf,
}

impl Store {
    fn new() -> Self {
        let dir = PathBuf::from(format!("/var/tmp/knarr-images-{}", unique()));
        Self {
            store: ImageStore::open(&dir).unwrap(),
            dir,
        }
    }

    fn leftovers(&self) -> usize {
        std::fs::read_dir(self.dir.join("tmp")).unwrap().count()
    }

    /// Directories of an image's layers, the lowest first.
    fn layers(&self, image: &str) -> Vec<PathBuf> {
        let layers = self.store.prepare(image, "test").unwrap().layers;
        layers
            .iter()
            .map(|l| self.store.layers_dir().join(l))
            .collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn entry(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000_000);
    header.set_uid(7);
    header.set_gid(8);
    header.set_size(content.len() as u64);
    // Written as it is: `append_data` would refuse what a bad archive may hold.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn link(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, target: &str) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_link_name_literal(target).unwrap();
    header.set_cksum();
    tar.append(&header, std::io::empty()).unwrap();
}

/// A `docker save` archive of the given layers.
fn docker_archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|l| digest_of(l)).collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"], "Env": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string();
    let mut tar = Builder::new(Vec::new());
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    for (name, layer) in names.iter().zip(layers) {
        entry(&mut tar, EntryType::Regular, name, 0o644, layer);
    }
    entry(
        &mut tar,
        EntryType::Regular,
        "config.json",
        0o644,
        config.as_bytes(),
    );
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).to_string();
    entry(
        &mut tar,
        EntryType::Regular,
        "manifest.json",
        0o644,
        manifest.as_bytes(),
    );
    tar.into_inner().unwrap()
}

fn layer(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    build(&mut tar);
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn layers_keep_owner_mode_time_links_and_attributes() {
    if !can_run() {
        return;
    }
    let s = Store::new();
    let content = layer(|tar| {
        entry(tar, EntryType::Directory, "dir/", 0o750, b"");
        entry(tar, EntryType::Regular, "dir/file", 0o4755, b"hello");
        link(tar, EntryType::Link, "hard", "dir/file");
        link(tar, EntryType::Symlink, "soft", "/dir/file");
        entry(tar, EntryType::Fifo, "fifo", 0o600, b"");
        entry(tar, EntryType::Regular, "deep/without/entries", 0o600, b"x");
        let attributes = [
            ("SCHILY.xattr.user.knarr", &b"v"[..]),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ];
        tar.append_pax_extensions(attributes).unwrap();
        entry(tar, EntryType::Regular, "attr", 0o600, b"");
    });
    s.store
        .import(Cursor::new(gzip(&docker_archive("a:1", &[content]))), None)
        .unwrap();
    let dir = s.layers("a:1").remove(0);
    let file = std::fs::metadata(dir.join("dir/file")).unwrap();
    assert_eq!(
        (
            file.uid(),
            file.gid(),
            file.permissions().mode() & 0o7777,
            file.mtime()
        ),
        (7, 8, 0o4755, 1_000_000)
    );
    assert_eq!(
        std::fs::metadata(dir.join("dir")).unwrap().mtime(),
        1_000_000
    );
    assert_eq!(
        std::fs::metadata(dir.join("hard")).unwrap().ino(),
        file.ino()
    );
    assert_eq!(
        std::fs::read_link(dir.join("soft")).unwrap(),
        Path::new("/dir/file")
    );
    assert!(
        std::fs::metadata(dir.join("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert!(dir.join("deep/without/entries").exists());
    let image = s.store.find("a:1").unwrap().unwrap();
    assert_eq!(image.repo_tags, ["docker.io/library/a:1"]);
    assert_eq!(image.size, 6);
    assert_eq!(s.leftovers(), 0);
}

#[test]
fn bad_archives_are_errors_and_leave_nothing() {
    if !can_run() {
        return;
    }
    let s = Store::new();
    let good = layer(|tar| entry(tar, EntryType::Regular, "f", 0o644, b"x"));
    let mut wrong_digest = docker_archive("x:1", std::slice::from_ref(&good));
    let at = wrong_digest
        .windows(7)
        .position(|w| w == b"sha256:")
        .unwrap();
    wrong_digest[at + 7] ^= 1;
    let mut oci = busybox_image("oci:1").build().unwrap();
    let at = oci.windows(8).position(|w| w == b"root:x:0").unwrap();
    oci[at] = b'b';
    let upwards = layer(|tar| entry(tar, EntryType::Regular, "../../escape", 0o644, b"x"));
    let truncated = docker_archive("x:1", std::slice::from_ref(&good));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "neither an OCI archive"),
        ("noise", vec![42; 5000], "tar archive"),
        ("wrong digest", wrong_digest, "damaged"),
        ("damaged blob", oci, "damaged"),
        (
            "upwards",
            docker_archive("x:1", &[upwards]),
            "path leads upwards",
        ),
        ("truncated", truncated[..700].to_vec(), ""),
        ("truncated gzip", gzip(&truncated)[..100].to_vec(), ""),
        (
            "no name",
            docker_archive("Not A Name", std::slice::from_ref(&good)),
            "invalid reference format",
        ),
    ];
    for (name, archive, reason) in cases {
        let error = format!(
            "{:#}",
            s.store.import(Cursor::new(archive), None).expect_err(name)
        );
        assert!(error.contains(reason), "{name}: {error}");
        assert!(s.store.list().is_empty(), "{name}");
        assert_eq!(s.leftovers(), 0, "{name}");
    }
}

#[test]
fn links_in_layers_lead_nowhere_outside() {
    if !can_run() {
        return;
    }
    let s = Store::new();
    let outside = s.dir.join("outside");
    std::fs::create_dir(&outside).unwrap();
    let evil = layer(|tar| {
        link(tar, EntryType::Symlink, "out", outside.to_str().unwrap());
        entry(tar, EntryType::Regular, "out/file", 0o644, b"x");
        link(tar, EntryType::Symlink, "up", "../../../../../../etc");
        entry(tar, EntryType::Regular, "up/knarr-test", 0o644, b"x");
    });
    s.store
        .import(Cursor::new(docker_archive("evil:1", &[evil])), None)
        .unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!Path::new("/etc/knarr-test").exists());
    assert!(s.layers("evil:1")[0].join("etc/knarr-test").exists());
    let stolen = layer(|tar| link(tar, EntryType::Link, "passwd", "/etc/passwd"));
    assert!(
        s.store
            .import(Cursor::new(docker_archive("evil:2", &[stolen])), None)
            .is_err()
    );
}

#[test]
fn layers_are_shared_and_collected() {
    if !can_run() {
        return;
    }
    let s = Store::new();
    let base = || ImageBuilder::new("x").file("/base", 0o644, "base");
    let import = |image: ImageBuilder, name: &str| {
        s.store
            .import(Cursor::new(image.build().unwrap()), Some(name))
            .unwrap()
            .remove(0)
    };
    let count = || std::fs::read_dir(s.store.layers_dir()).unwrap().count();
    import(base().layer().file("/one", 0o644, "1"), "one");
    import(base().layer().file("/two", 0o644, "2"), "two");
    assert_eq!(count(), 3);
    // A tag moves; what it named before has no name left, and is still there by id.
    let first = s.store.find("two").unwrap().unwrap();
    import(base().layer().file("/three", 0o644, "3"), "two");
    assert!(
        s.store
            .find(&first.id)
            .unwrap()
            .unwrap()
            .repo_tags
            .is_empty()
    );
    assert_eq!(count(), 4);
    s.store.prepare("one", "container").unwrap();
    for image in ["one", "two", &first.id, "unknown"] {
        s.store.remove(image).unwrap();
    }
    assert!(s.store.list().is_empty());
    // What the container stands on stays until it goes.
    assert_eq!(count(), 2);
    s.store.release("container");
    s.store.collect_layers().unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn a_store_opens_again_after_a_crash() {
    if !can_run() {
        return;
    }
    let s = Store::new();
    s.store
        .import(Cursor::new(busybox_image("bb").build().unwrap()), None)
        .unwrap();
    // An unpacking that never ended, a layer that was never noted.
    std::fs::create_dir_all(s.dir.join("tmp/half/bin")).unwrap();
    std::fs::create_dir_all(s.dir.join("layers/77/bin")).unwrap();
    let again = ImageStore::open(&s.dir).unwrap();
    assert_eq!(again.list().len(), 1);
    assert_eq!(std::fs::read_dir(again.layers_dir()).unwrap().count(), 1);
    assert_eq!(s.leftovers(), 0);
    std::fs::write(s.dir.join("index.json"), "{\"images\":").unwrap();
    let error = format!("{:#}", ImageStore::open(&s.dir).err().unwrap());
    assert!(error.contains("index.json is damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn upper_layers_hide_lower_ones() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let archive = busybox_image("white")
        .file("/gone/a", 0o644, "a")
        .file("/kept/b", 0o644, "b")
        .file("/opaque/old", 0o644, "old")
        .file("/replaced/dir", 0o644, "x")
        .layer()
        .file("/.wh.gone", 0o644, "")
        .file("/kept/.wh.b", 0o644, "")
        .file("/kept/c", 0o644, "c")
        .file("/opaque/.wh..wh..opq", 0o644, "")
        .file("/opaque/new", 0o644, "new")
        .file("/replaced", 0o644, "now a file")
        .build()
        .unwrap();
    f.runtime
        .image_store()
        .import(Cursor::new(archive), None)
        .unwrap();
    let s = f.sandbox("white").await;
    let config = ContainerConfig {
        image_id: "white".into(),
        ..shell(
            "w",
            "ls /gone 2>&1; ls /kept; ls /opaque; cat /replaced; echo; ls -a / | grep wh",
        )
    };
    let id = f.run(&s, &config).await;
    f.wait_exit(&id).await;
    let lines: Vec<String> = f
        .log(&id)
        .await
        .iter()
        .map(|l| l.splitn(3, ' ').nth(2).unwrap().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "ls: /gone: No such file or directory",
            "c",
            "new",
            "now a file"
        ]
    );
    let error = f
        .runtime
        .create_container(
            &s,
            &ContainerConfig {
                image_id: "none".into(),
                ..config
            },
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, knarr_runtime::Error::NotFound(_)),
        "{error}"
    );
}
