//! The grammar of refining, as tables: what may be said, and when it may not.
//!
//! A refined prompt is the subject, word for word, and then at most one phrase
//! for each [`Facet`], in the order of [`Facet::ALL`]:
//!
//! ```text
//! a lighthouse on a cliff , golden hour light , warm harmonious colours , wide angle view , highly detailed
//! └── subject ───────────┘ └── light ───────┘ └── palette ───────────┘ └── lens ───────┘ └── quality ───┘
//! ```
//!
//! A facet stays silent when the subject speaks of it already: a prompt that
//! names a time of day gets no light, one that names a colour no palette. The
//! words that show it are each facet's [`Facet::spoken_by`]. No phrase names a
//! thing that could be drawn (no bird, no boat, no moon): refining decides how a
//! picture looks, never what is in it.
//!
//! Phrases are chosen by seed, subject and facet together, so that one seed
//! does not give every prompt of a batch the same light.

/// One aspect of how a picture looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Facet {
    /// Medium and manner, from the style that was asked for.
    Style,
    /// Light and, with it, the time of day.
    Light,
    /// Colours.
    Palette,
    /// View and lens.
    Lens,
    /// Finish.
    Quality,
}

impl Facet {
    /// In the order in which they are added.
    pub(super) const ALL: [Self; 5] = [
        Self::Style,
        Self::Light,
        Self::Palette,
        Self::Lens,
        Self::Quality,
    ];

    /// Words that show that a subject speaks of the facet itself. A word stands
    /// for its plain plural too; two words stand for a phrase.
    pub(super) fn spoken_by(self) -> &'static [&'static str] {
        match self {
            Self::Style => &[
                "photo",
                "photograph",
                "photography",
                "painting",
                "painted",
                "watercolor",
                "watercolour",
                "drawing",
                "sketch",
                "illustration",
                "engraving",
                "woodcut",
                "etching",
                "ink",
                "oil on canvas",
                "render",
                "anime",
                "cartoon",
                "comic",
                "pixel art",
                "neon",
                "noir",
                "pastel",
                "sepia",
                "autumn",
                "autumnal",
                "winter",
                "wintry",
                "spring",
                "summer",
            ],
            Self::Light => &[
                "light",
                "lighting",
                "lit",
                "sunlit",
                "moonlit",
                "backlit",
                "day",
                "daylight",
                "daytime",
                "night",
                "nighttime",
                "midnight",
                "evening",
                "morning",
                "noon",
                "midday",
                "afternoon",
                "dawn",
                "dusk",
                "twilight",
                "sunset",
                "sunrise",
                "sundown",
                "golden hour",
                "blue hour",
                "sun",
                "sunny",
                "sunshine",
                "moon",
                "moonlight",
                "starlight",
                "star",
                "starry",
                "milky way",
                "aurora",
                "northern lights",
                "storm",
                "stormy",
                "thunder",
                "thunderstorm",
                "lightning",
                "rain",
                "rainy",
                "fog",
                "foggy",
                "mist",
                "misty",
                "haze",
                "hazy",
                "overcast",
                "cloudy",
                "dark",
                "darkness",
                "shadow",
                "shadowy",
                "gloomy",
                "bright",
                "glow",
                "glowing",
                "neon",
                "noir",
                "candle",
                "lantern",
                "campfire",
                "fire",
            ],
            Self::Palette => &[
                "color",
                "colour",
                "colored",
                "coloured",
                "colorful",
                "colourful",
                "palette",
                "monochrome",
                "grayscale",
                "greyscale",
                "black and white",
                "sepia",
                "pastel",
                "vivid",
                "vibrant",
                "muted",
                "red",
                "orange",
                "yellow",
                "green",
                "blue",
                "turquoise",
                "teal",
                "purple",
                "violet",
                "pink",
                "magenta",
                "cyan",
                "crimson",
                "scarlet",
                "gold",
                "golden",
                "silver",
                "brown",
                "black",
                "white",
                "gray",
                "grey",
                "neon",
                "noir",
                "autumn",
                "winter",
            ],
            Self::Lens => &[
                "lens",
                "wide angle",
                "wideangle",
                "telephoto",
                "fisheye",
                "macro",
                "close up",
                "closeup",
                "portrait",
                "panorama",
                "panoramic",
                "aerial",
                "bird's eye",
                "view",
                "top down",
                "isometric",
                "bokeh",
                "depth of field",
                "focus",
                "35mm",
                "50mm",
                "85mm",
                "zoom",
                "perspective",
            ],
            Self::Quality => &[
                "detailed",
                "detail",
                "quality",
                "sharp",
                "crisp",
                "4k",
                "8k",
                "hd",
                "high resolution",
                "masterpiece",
                "minimal",
                "minimalist",
                "simple",
                "rough",
                "blurry",
                "lo fi",
                "grainy",
                "finely",
            ],
        }
    }
}

/// A manner of drawing that can be asked for by name.
pub(super) struct Style {
    /// What `style:` calls it.
    pub(super) name: &'static str,
    /// The phrase for [`Facet::Style`]; empty adds none.
    pub(super) phrase: &'static str,
    /// One of these for [`Facet::Light`]; none where the style brings its own light.
    pub(super) light: &'static [&'static str],
    /// One of these for [`Facet::Palette`]; none where the style is a palette.
    pub(super) palette: &'static [&'static str],
    /// One of these for [`Facet::Lens`]; none where there is no camera.
    pub(super) lens: &'static [&'static str],
    /// One of these for [`Facet::Quality`].
    pub(super) quality: &'static [&'static str],
    /// What should not be seen, besides [`NEGATIVE`].
    pub(super) negative: &'static [&'static str],
}

/// What no picture should show, unless the subject asks for it.
pub(super) const NEGATIVE: &[&str] = &["blurry", "low quality", "distorted", "watermark", "text"];

const LIGHT: &[&str] = &[
    "soft natural light",
    "golden hour light",
    "early morning light",
    "warm evening light",
    "clear midday light",
];
const SOFT_LIGHT: &[&str] = &[
    "soft natural light",
    "early morning light",
    "warm evening light",
];
const PALETTE: &[&str] = &[
    "warm harmonious colours",
    "cool harmonious colours",
    "muted natural colours",
    "rich deep colours",
];
const LENS: &[&str] = &["wide angle view", "35mm lens", "50mm lens", "deep focus"];
const QUALITY: &[&str] = &["highly detailed", "finely detailed", "crisp detail"];
const HAND_QUALITY: &[&str] = &["finely detailed", "masterpiece quality"];

/// Every style there is; the first is the default.
pub(super) const STYLES: &[Style] = &[
    Style {
        name: "none",
        phrase: "",
        light: LIGHT,
        palette: PALETTE,
        lens: LENS,
        quality: QUALITY,
        negative: &[],
    },
    Style {
        name: "photo",
        phrase: "natural photograph",
        light: LIGHT,
        palette: &["natural colours", "muted natural colours"],
        lens: LENS,
        quality: QUALITY,
        negative: &["painting", "illustration", "cartoon"],
    },
    Style {
        name: "painting",
        phrase: "painting with visible brush strokes",
        light: SOFT_LIGHT,
        palette: PALETTE,
        lens: &[],
        quality: HAND_QUALITY,
        negative: &["photograph", "3d render"],
    },
    Style {
        name: "oil",
        phrase: "oil painting with visible brush strokes",
        light: SOFT_LIGHT,
        palette: PALETTE,
        lens: &[],
        quality: HAND_QUALITY,
        negative: &["photograph", "3d render"],
    },
    Style {
        name: "woodcut",
        phrase: "woodcut print with bold carved lines",
        light: SOFT_LIGHT,
        palette: &[],
        lens: &[],
        quality: HAND_QUALITY,
        negative: &["photograph", "3d render", "soft gradients"],
    },
    Style {
        name: "watercolor",
        phrase: "watercolor on rough paper",
        light: SOFT_LIGHT,
        palette: &["transparent washes of colour", "muted natural colours"],
        lens: &[],
        quality: HAND_QUALITY,
        negative: &["photograph", "3d render", "hard outlines"],
    },
    Style {
        name: "neon",
        phrase: "neon style, saturated magenta and cyan",
        light: &[],
        palette: &[],
        lens: LENS,
        quality: QUALITY,
        negative: &["washed out", "dull colours"],
    },
    Style {
        name: "noir",
        phrase: "film noir style, high contrast black and white",
        light: &[],
        palette: &[],
        lens: LENS,
        quality: QUALITY,
        negative: &["bright colours", "low contrast"],
    },
    Style {
        name: "pastel",
        phrase: "pastel style, pale chalky colours",
        light: SOFT_LIGHT,
        palette: &[],
        lens: &[],
        quality: HAND_QUALITY,
        negative: &["harsh contrast", "oversaturated"],
    },
    Style {
        name: "autumn",
        phrase: "autumn style, russet and amber colours",
        light: SOFT_LIGHT,
        palette: &[],
        lens: LENS,
        quality: QUALITY,
        negative: &["oversaturated"],
    },
    Style {
        name: "sepia",
        phrase: "sepia style, aged brown tones",
        light: SOFT_LIGHT,
        palette: &[],
        lens: LENS,
        quality: QUALITY,
        negative: &["bright colours"],
    },
    Style {
        name: "winter",
        phrase: "winter style, cold pale colours",
        light: &["soft natural light", "early morning light"],
        palette: &[],
        lens: LENS,
        quality: QUALITY,
        negative: &["oversaturated"],
    },
];

/// A text's words, lower case: letters, digits and apostrophes; all else parts them.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Whether `words` say `phrase`: its words in a row, the last perhaps in the plural.
pub(super) fn says(words: &[String], phrase: &str) -> bool {
    let wanted: Vec<&str> = phrase.split(' ').collect();
    let Some((last, before)) = wanted.split_last() else {
        return false;
    };
    words.windows(wanted.len()).any(|row| {
        let (said_last, said_before) = row.split_last().expect("a window has a last word");
        let is_last = said_last == last || said_last.strip_suffix('s').is_some_and(|w| w == *last);
        is_last
            && said_before
                .iter()
                .zip(before)
                .all(|(said, word)| said == word)
    })
}
