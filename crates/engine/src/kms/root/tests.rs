use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory of its own per test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-root-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self) -> PathBuf {
        self.0.join("kms-root.key")
    }
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn created_once_and_then_the_same() {
    let directory = Directory::new("once");
    let first = RootKeys::load_or_create(&directory.file(), &[1; 64]).unwrap();
    let second = RootKeys::load_or_create(&directory.file(), &[2; 64]).unwrap();
    assert_eq!(first.text(), second.text());
    assert_eq!(fs::metadata(directory.file()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(directory.names(), ["kms-root.key"]);
    let expected = format!("p256 {0}\nk256 {0}\n", "01".repeat(32));
    assert_eq!(fs::read_to_string(directory.file()).unwrap(), expected);
}

#[test]
fn of_many_at_once_one_wins() {
    let directory = Directory::new("race");
    let texts: Vec<_> = std::thread::scope(|scope| {
        let create = |seed: u8| RootKeys::load_or_create(&directory.file(), &[seed; 64]).unwrap();
        let running: Vec<_> = (1..=16).map(|seed| scope.spawn(move || create(seed))).collect();
        running.into_iter().map(|thread| thread.join().unwrap().text()).collect()
    });
    assert!(texts.iter().all(|text| *text == texts[0]));
    assert_eq!(directory.names(), ["kms-root.key"]);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let directory = Directory::new("mode");
    RootKeys::load_or_create(&directory.file(), &[1; 64]).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(directory.file(), fs::Permissions::from_mode(mode)).unwrap();
        let error = RootKeys::load_or_create(&directory.file(), &[1; 64]).unwrap_err();
        assert!(error.to_string().contains(&format!("has mode {mode:03o}")), "{error}");
    }
    fs::set_permissions(directory.file(), fs::Permissions::from_mode(0o400)).unwrap();
    RootKeys::load_or_create(&directory.file(), &[1; 64]).unwrap();
}

#[test]
fn a_broken_file_is_kept_and_refused() {
    let directory = Directory::new("broken");
    RootKeys::load_or_create(&directory.file(), &[1; 64]).unwrap();
    for text in ["", "p256 0101", "something else"] {
        fs::write(directory.file(), text).unwrap();
        let error = RootKeys::load_or_create(&directory.file(), &[2; 64]).unwrap_err();
        assert!(matches!(error, RootFileError::Invalid { .. }), "{error}");
        assert_eq!(fs::read_to_string(directory.file()).unwrap(), text);
    }
    let nowhere = directory.0.join("missing/kms-root.key");
    let error = RootKeys::load_or_create(&nowhere, &[1; 64]).unwrap_err();
    assert!(matches!(error, RootFileError::Io { doing: "create", .. }), "{error}");
}

#[test]
fn text_is_checked_and_never_quoted() {
    let good = "01".repeat(32);
    let parse = |text: String| RootKeys::from_hex(&text.into());
    assert!(parse(format!("p256 {good} k256 {good}")).is_ok());
    assert!(parse(format!("\n p256\t{good}\r\nk256 {}\n\n", good.to_uppercase())).is_ok());
    let (zero, order) = ("00".repeat(32), "ff".repeat(32));
    let cases = [
        (format!("k256 {good} p256 {good}"), InvalidRootKeys::Shape),
        (format!("p256 {good}"), InvalidRootKeys::Shape),
        (format!("p256 {good} k256 {good} more"), InvalidRootKeys::Shape),
        (format!("p256 0x{good} k256 {good}"), InvalidRootKeys::Shape),
        (format!("p256 {zero} k256 {good}"), InvalidRootKeys::P256),
        (format!("p256 {order} k256 {good}"), InvalidRootKeys::P256),
        (format!("p256 {good} k256 {zero}"), InvalidRootKeys::K256),
        (format!("p256 {good} k256 {order}"), InvalidRootKeys::K256),
    ];
    for (text, why) in cases {
        assert_eq!(parse(text).unwrap_err(), why);
    }
    assert_eq!(RootKeys::from_bytes(&[0xff; 64]).unwrap_err(), InvalidRootKeys::P256);
    assert_eq!(format!("{:?}", RootKeys::from_bytes(&[1; 64]).unwrap()), "RootKeys(..)");
}
