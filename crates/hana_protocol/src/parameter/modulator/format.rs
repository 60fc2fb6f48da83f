use std::fmt;
use std::str::FromStr;

use hana_time::sanitize_line;

use crate::parameter::modulator::Modulator;
use crate::parameter::modulator::adsr::{Adsr, Trigger};
use crate::parameter::modulator::error::ModulatorError;
use crate::parameter::modulator::lfo::Lfo;
use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::wave::Wave;

/// Maximum length of foreign text that an error quotes.
const LONGEST: usize = 63;
const LFO_SETTINGS: &str = "phase, depth, offset, seed";
const ENV_SETTINGS: &str = "at, attack, decay, sustain, hold, release, depth, offset";

impl Modulator {
    /// Whether a text is meant as a modulator, valid or not: `lfo:...`, `env:...`.
    #[must_use]
    pub fn looks_like_modulator(text: &str) -> bool {
        let kind = text.split(':').next().unwrap_or_default();
        matches!(kind, "lfo" | "env")
    }
}

impl FromStr for Modulator {
    type Err = ModulatorError;

    /// Parses `lfo:sine:1bar:depth=0.5` or `env:1beat:attack=0.1beats`.
    ///
    /// An LFO defaults to `sine` and `1bar`, an envelope to `1bar`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pieces = text.split(':');
        let source = match pieces.next() {
            Some("lfo") => Self::Lfo(lfo(pieces)?),
            Some("env") => Self::Env(envelope(pieces)?),
            _ => return Err(ModulatorError::Kind { text: sanitize_line(text, LONGEST) }),
        };
        source.checked()
    }
}

fn lfo<'a>(pieces: impl Iterator<Item = &'a str>) -> Result<Lfo, ModulatorError> {
    let mut lfo = Lfo::new(Wave::Sine, Period::Bars(1.0));
    for piece in pieces {
        let Some((setting, value)) = piece.split_once('=') else {
            if let Some(wave) = Wave::ALL.into_iter().find(|wave| wave.as_str() == piece) {
                lfo.wave = wave;
            } else {
                lfo.period = Period::read(piece)
                    .ok_or_else(|| ModulatorError::Piece { text: sanitize_line(piece, LONGEST) })?;
            }
            continue;
        };
        match setting {
            "phase" => lfo.phase = number("phase", value, -1.0, 1.0)?,
            "depth" => lfo.depth = number("depth", value, -1.0, 1.0)?,
            "offset" => lfo.offset = number("offset", value, -1.0, 1.0)?,
            "seed" => lfo.seed = number("seed", value, 0.0, u32::MAX.into())?,
            _ => {
                return Err(ModulatorError::Setting {
                    text: sanitize_line(setting, LONGEST),
                    known: LFO_SETTINGS,
                    example: "depth=0.5",
                });
            },
        }
    }
    Ok(lfo)
}

fn envelope<'a>(pieces: impl Iterator<Item = &'a str>) -> Result<Adsr, ModulatorError> {
    let mut envelope = Adsr::new(Trigger::Every(Period::Bars(1.0)));
    for piece in pieces {
        let Some((setting, value)) = piece.split_once('=') else {
            envelope.trigger =
                if piece == "once" { Trigger::Once } else { Trigger::Every(length(piece)?) };
            continue;
        };
        match setting {
            "at" => envelope.trigger = Trigger::At(number("at", value, -1e9, 1e9)?),
            "attack" => envelope.attack = length(value)?,
            "decay" => envelope.decay = length(value)?,
            "sustain" => envelope.sustain = number("sustain", value, 0.0, 1.0)?,
            "hold" => envelope.hold = length(value)?,
            "release" => envelope.release = length(value)?,
            "depth" => envelope.depth = number("depth", value, -1.0, 1.0)?,
            "offset" => envelope.offset = number("offset", value, -2.0, 2.0)?,
            _ => {
                return Err(ModulatorError::Setting {
                    text: sanitize_line(setting, LONGEST),
                    known: ENV_SETTINGS,
                    example: "decay=0.5beats",
                });
            },
        }
    }
    Ok(envelope)
}

fn length(text: &str) -> Result<Period, ModulatorError> {
    Period::read(text).ok_or_else(|| ModulatorError::Length { text: sanitize_line(text, LONGEST) })
}

fn number<N: FromStr>(
    setting: &'static str,
    text: &str,
    min: f64,
    max: f64,
) -> Result<N, ModulatorError> {
    let value = sanitize_line(text, LONGEST);
    text.parse().map_err(|_| ModulatorError::Number { setting, value, min, max })
}

impl fmt::Display for Modulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lfo(lfo) => write_lfo(lfo, f),
            Self::Env(envelope) => write_envelope(envelope, f),
        }
    }
}

fn write_lfo(lfo: &Lfo, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Lfo { wave, period, phase, depth, offset, seed } = lfo;
    let usual = Lfo::new(*wave, *period);
    write!(f, "lfo:{}:{period}", wave.as_str())?;
    if phase.to_bits() != usual.phase.to_bits() {
        write!(f, ":phase={phase}")?;
    }
    write_reach(f, *depth, *offset)?;
    if *seed != usual.seed {
        write!(f, ":seed={seed}")?;
    }
    Ok(())
}

fn write_envelope(envelope: &Adsr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Adsr { trigger, attack, decay, sustain, hold, release, depth, offset } = envelope;
    let usual = Adsr::new(*trigger);
    match trigger {
        Trigger::Every(period) => write!(f, "env:{period}")?,
        Trigger::At(beat) => write!(f, "env:at={beat}")?,
        Trigger::Once => f.write_str("env:once")?,
    }
    for (setting, length, usual) in
        [("attack", attack, usual.attack), ("decay", decay, usual.decay)]
    {
        if *length != usual {
            write!(f, ":{setting}={length}")?;
        }
    }
    if sustain.to_bits() != usual.sustain.to_bits() {
        write!(f, ":sustain={sustain}")?;
    }
    for (setting, length, usual) in
        [("hold", hold, usual.hold), ("release", release, usual.release)]
    {
        if *length != usual {
            write!(f, ":{setting}={length}")?;
        }
    }
    write_reach(f, *depth, *offset)
}

fn write_reach(f: &mut fmt::Formatter<'_>, depth: f32, offset: f32) -> fmt::Result {
    if depth.to_bits() != 1.0_f32.to_bits() {
        write!(f, ":depth={depth}")?;
    }
    if offset.to_bits() != 0.0_f32.to_bits() {
        write!(f, ":offset={offset}")?;
    }
    Ok(())
}
