//! What a picture shows, in the painter's own words; knows no pixels.

use std::collections::BTreeMap;

/// A place. Several may meet in one picture: a lake before mountains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Land {
    /// A headland over the sea.
    Cliff,
    /// Water falling over a rock wall.
    Waterfall,
    /// A river between terraced walls.
    Canyon,
    /// An island in the sea.
    Island,
    /// A skyline.
    City,
    /// Houses around a church.
    Village,
    /// A lake with banks.
    Lake,
    /// A river through a valley.
    River,
    /// Dunes.
    Desert,
    /// Sand and surf.
    Beach,
    /// Open water.
    Sea,
    /// Trees, near and far.
    Forest,
    /// A smoking cone.
    Volcano,
    /// A plain under snow.
    SnowPlain,
    /// Grass and flowers.
    Meadow,
    /// Rolling green.
    Hills,
    /// Peaks.
    Mountains,
}

impl Land {
    /// Every land, the one that rules a composition first.
    pub const ALL: [Self; 17] = [
        Self::Cliff,
        Self::Waterfall,
        Self::Canyon,
        Self::Island,
        Self::City,
        Self::Village,
        Self::Lake,
        Self::River,
        Self::Desert,
        Self::Beach,
        Self::Sea,
        Self::Forest,
        Self::Volcano,
        Self::SnowPlain,
        Self::Meadow,
        Self::Hills,
        Self::Mountains,
    ];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cliff => "cliff",
            Self::Waterfall => "waterfall",
            Self::Canyon => "canyon",
            Self::Island => "island",
            Self::City => "city",
            Self::Village => "village",
            Self::Lake => "lake",
            Self::River => "river",
            Self::Desert => "desert",
            Self::Beach => "beach",
            Self::Sea => "sea",
            Self::Forest => "forest",
            Self::Volcano => "volcano",
            Self::SnowPlain => "snow plain",
            Self::Meadow => "meadow",
            Self::Hills => "hills",
            Self::Mountains => "mountains",
        }
    }
}

/// The hour, or the weather that rules it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Time {
    /// The sun comes up.
    Dawn,
    /// Plain daylight.
    #[default]
    Day,
    /// Low, warm sun.
    GoldenHour,
    /// The sun goes down.
    Sunset,
    /// After it.
    Dusk,
    /// Moon and stars.
    Night,
    /// Dark weather by day.
    Storm,
}

impl Time {
    /// Every time.
    pub const ALL: [Self; 7] = [
        Self::Dawn,
        Self::Day,
        Self::GoldenHour,
        Self::Sunset,
        Self::Dusk,
        Self::Night,
        Self::Storm,
    ];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dawn => "dawn",
            Self::Day => "day",
            Self::GoldenHour => "golden hour",
            Self::Sunset => "sunset",
            Self::Dusk => "dusk",
            Self::Night => "night",
            Self::Storm => "storm",
        }
    }

    /// Whether windows are lit and lamps burn.
    pub(super) fn is_dark(self) -> bool {
        match self {
            Self::Sunset | Self::Dusk | Self::Night | Self::Storm => true,
            Self::Dawn | Self::Day | Self::GoldenHour => false,
        }
    }

    /// Whether gulls stay on their nests.
    pub(super) fn is_storm_or_night(self) -> bool {
        matches!(self, Self::Night | Self::Storm)
    }
}

/// How it is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// Glowing lines in violet dark.
    Neon,
    /// Black and white, deep shadows.
    Noir,
    /// Pale and soft.
    Pastel,
    /// Turning leaves, warm light.
    Autumn,
    /// Snow, cold light.
    Winter,
    /// Pigment on paper.
    Watercolor,
    /// Brown as an old photograph.
    Sepia,
    /// Black lines cut in wood.
    Woodcut,
    /// Brush strokes.
    Oil,
}

impl Style {
    /// Every style.
    pub const ALL: [Self; 10] = [
        Self::Plain,
        Self::Neon,
        Self::Noir,
        Self::Pastel,
        Self::Autumn,
        Self::Winter,
        Self::Watercolor,
        Self::Sepia,
        Self::Woodcut,
        Self::Oil,
    ];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Neon => "neon",
            Self::Noir => "noir",
            Self::Pastel => "pastel",
            Self::Autumn => "autumn",
            Self::Winter => "winter",
            Self::Watercolor => "watercolor",
            Self::Sepia => "sepia",
            Self::Woodcut => "woodcut",
            Self::Oil => "oil",
        }
    }
}

/// Something in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the thing it names")]
pub enum Thing {
    Sun,
    Moon,
    Crescent,
    Stars,
    Clouds,
    Rain,
    Snow,
    Fog,
    Aurora,
    Rainbow,
    Lightning,
    Birds,
    Balloon,
    Boat,
    House,
    Lighthouse,
    Church,
    Castle,
    Windmill,
    Bridge,
    Tent,
    Campfire,
    Fence,
    Path,
    Trees,
    Pines,
    Palms,
    Cactus,
    Flowers,
    Rocks,
}

impl Thing {
    /// Every thing.
    pub const ALL: [Self; 30] = [
        Self::Sun,
        Self::Moon,
        Self::Crescent,
        Self::Stars,
        Self::Clouds,
        Self::Rain,
        Self::Snow,
        Self::Fog,
        Self::Aurora,
        Self::Rainbow,
        Self::Lightning,
        Self::Birds,
        Self::Balloon,
        Self::Boat,
        Self::House,
        Self::Lighthouse,
        Self::Church,
        Self::Castle,
        Self::Windmill,
        Self::Bridge,
        Self::Tent,
        Self::Campfire,
        Self::Fence,
        Self::Path,
        Self::Trees,
        Self::Pines,
        Self::Palms,
        Self::Cactus,
        Self::Flowers,
        Self::Rocks,
    ];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sun => "sun",
            Self::Moon => "moon",
            Self::Crescent => "crescent moon",
            Self::Stars => "stars",
            Self::Clouds => "clouds",
            Self::Rain => "rain",
            Self::Snow => "snow",
            Self::Fog => "fog",
            Self::Aurora => "aurora",
            Self::Rainbow => "rainbow",
            Self::Lightning => "lightning",
            Self::Birds => "birds",
            Self::Balloon => "balloon",
            Self::Boat => "boat",
            Self::House => "house",
            Self::Lighthouse => "lighthouse",
            Self::Church => "church",
            Self::Castle => "castle",
            Self::Windmill => "windmill",
            Self::Bridge => "bridge",
            Self::Tent => "tent",
            Self::Campfire => "campfire",
            Self::Fence => "fence",
            Self::Path => "path",
            Self::Trees => "trees",
            Self::Pines => "pines",
            Self::Palms => "palms",
            Self::Cactus => "cactus",
            Self::Flowers => "flowers",
            Self::Rocks => "rocks",
        }
    }
}

/// A colour somebody asked for: `a red boat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the colour it names")]
pub enum Hue {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    White,
    Black,
    Brown,
    Grey,
}

impl Hue {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::White => "white",
            Self::Black => "black",
            Self::Brown => "brown",
            Self::Grey => "grey",
        }
    }

    /// The paint, as `0xRRGGBB`.
    pub(super) fn paint(self) -> u32 {
        match self {
            Self::Red => 0xb8_2a22,
            Self::Orange => 0xd9_7420,
            Self::Yellow => 0xe2_bb3a,
            Self::Green => 0x3c_7a44,
            Self::Blue => 0x2f_5fa8,
            Self::Purple => 0x6f_4296,
            Self::Pink => 0xd9_80a0,
            Self::White => 0xef_ebe0,
            Self::Black => 0x22_2226,
            Self::Brown => 0x76_4e30,
            Self::Grey => 0x85_888c,
        }
    }
}

/// How much of a thing there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// Its colour, where one was asked for.
    pub hue: Option<Hue>,
    /// Several of them.
    pub many: bool,
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scene {
    /// Places, in the order of [`Land::ALL`]; none means open hills.
    pub lands: Vec<Land>,
    /// The hour.
    pub time: Time,
    /// The manner.
    pub style: Style,
    /// What was asked for.
    pub things: BTreeMap<Thing, Wish>,
    /// What was asked to stay away.
    pub without: Vec<Thing>,
    /// Places asked to stay away.
    pub without_lands: Vec<Land>,
}

impl Scene {
    /// Whether somebody asked for it.
    pub(super) fn has(&self, thing: Thing) -> bool {
        self.things.contains_key(&thing)
    }

    /// Whether it may appear where it belongs, asked for or not.
    pub(super) fn allows(&self, thing: Thing) -> bool {
        !self.without.contains(&thing)
    }

    /// Whether the place is in the picture.
    pub(super) fn is(&self, land: Land) -> bool {
        self.lands.contains(&land)
    }

    /// The place that rules the composition; where none was named, the one that
    /// its things are at home in.
    pub(super) fn ruler(&self) -> Land {
        let homes = [
            (Thing::Lighthouse, Land::Cliff),
            (Thing::Boat, Land::Sea),
            (Thing::Palms, Land::Beach),
            (Thing::Cactus, Land::Desert),
            (Thing::Pines, Land::Forest),
            (Thing::Trees, Land::Forest),
            (Thing::Bridge, Land::River),
            (Thing::Campfire, Land::Lake),
            (Thing::Tent, Land::Lake),
            (Thing::Aurora, Land::SnowPlain),
            (Thing::Flowers, Land::Meadow),
        ];
        let home = || {
            let at_home = homes
                .iter()
                .find(|(thing, land)| self.has(*thing) && !self.without_lands.contains(land));
            at_home.map(|(_, land)| *land)
        };
        let named = self.lands.iter().copied().min();
        named.or_else(home).unwrap_or(Land::Hills)
    }

    /// The colour asked for a thing.
    pub(super) fn hue(&self, thing: Thing) -> Option<Hue> {
        self.things.get(&thing).and_then(|wish| wish.hue)
    }

    /// Whether several were asked for.
    pub(super) fn many(&self, thing: Thing) -> bool {
        self.things.get(&thing).is_some_and(|wish| wish.many)
    }
}
