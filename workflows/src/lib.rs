//! The definitions that ship, embedded in the program.
//!
//! A user's folder adds to these and overrides them by name. This crate holds
//! texts alone; what they mean is the engine's to say.

/// A definition as it stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// The file's name; its stem is the workflow's name.
    pub file_name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

impl Embedded {
    /// The workflow's name, known without parsing the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.file_name
            .rsplit_once('.')
            .map_or(self.file_name, |(stem, _)| stem)
    }
}

macro_rules! embed {
    ($($file:literal),+ $(,)?) => {
        &[$(Embedded {
            file_name: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file)),
        }),+]
    };
}

/// Every definition that ships, by name.
#[must_use]
pub fn all() -> &'static [Embedded] {
    embed![
        "alert-delivery.yaml",
        "clean-up.yaml",
        "email-delivery.yaml",
        "emergency-clean-up.yaml",
        "health-check.yaml",
        "image-batch.yaml",
        "image-enhancement.yaml",
        "image-generation.yaml",
        "postcard.toml",
        "predict.yaml",
        "seed-sweep.yaml",
        "train-all.yaml",
        "train.yaml",
        "webhook-delivery.yaml",
    ]
}

/// The definition of that name, if it ships.
#[must_use]
pub fn find(name: &str) -> Option<&'static Embedded> {
    all().iter().find(|embedded| embedded.name() == name)
}
