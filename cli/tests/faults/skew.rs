//! A process whose clock is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that, preloaded, puts a process's clock ahead.
#[derive(Debug)]
pub(crate) struct Skew {
    library: PathBuf,
}

impl Skew {
    /// Built by the compiler that also links Rust programs.
    pub(crate) fn build(folder: &Path) -> Self {
        let library = folder.join("skew.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/skew.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .status()
            .expect("cc: a C compiler, which also links Rust programs");
        assert!(built.success(), "cc {}", source.display());
        let skew = Self { library };
        skew.check();
        skew
    }

    pub(crate) fn put(&self, command: &mut Command, seconds: i64) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SKEW_SECONDS", seconds.to_string());
    }

    /// Whether a process was told.
    pub(crate) fn is_in(&self, process: u32) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
        maps.contains(self.library.to_str().unwrap())
    }

    /// A program that tells the time tells a wrong one.
    fn check(&self) {
        let told = |seconds| {
            let mut date = Command::new("date");
            self.put(date.arg("+%s"), seconds);
            let told = String::from_utf8(date.output().unwrap().stdout).unwrap();
            told.trim().parse::<i64>().unwrap()
        };
        let apart = told(1_000) - told(0);
        assert!((999..=1_010).contains(&apart), "the clock is {apart} s off");
    }
}
