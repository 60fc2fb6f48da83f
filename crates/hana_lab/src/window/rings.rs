//! Measurements of the picture that `ripples` draws.

use crate::Image;

/// The number of rows above and below the middle that are averaged, which reduces the noise of a single row.
const HALF_BAND: usize = 2;
/// The share of the highest peak from which another peak counts as high.
const NEARLY: f64 = 0.7;

impl Image {
    /// Returns the distance between two rings of `ripples` in pixels, or `None` if the picture does not repeat.
    ///
    /// It is measured along the horizontal line through the centre, where the rings are clearest. The distance is the
    /// shift at which the brightness of that line is most similar to itself: the first peak of its autocorrelation.
    #[must_use]
    pub fn ring_spacing(&self) -> Option<f64> {
        let middle = self.height() / 2;
        let rows = middle.saturating_sub(HALF_BAND)..(middle + HALF_BAND).min(self.height());
        let count = as_f64(rows.len());
        let line: Vec<f64> = (0..self.width())
            .map(|x| rows.clone().map(|y| brightest(self.pixel(x, y))).sum::<f64>() / count)
            .collect();
        first_period(&without_slope(&line, self.height() / 4), self.height() / 4)
    }
}

/// Removes everything that changes more slowly than the rings, by subtracting the moving average and then the mean.
fn without_slope(line: &[f64], reach: usize) -> Vec<f64> {
    let half = reach / 2;
    let last = line.len() - 1;
    let around = |x: usize| {
        let sum: f64 = (x..=x + 2 * half).map(|i| line[i.saturating_sub(half).min(last)]).sum();
        sum / as_f64(2 * half + 1)
    };
    let flat: Vec<f64> = line.iter().enumerate().map(|(x, value)| value - around(x)).collect();
    let mean = flat.iter().sum::<f64>() / as_f64(flat.len());
    flat.into_iter().map(|value| value - mean).collect()
}

/// Returns the first high peak of the autocorrelation within `reach` after its first zero.
///
/// It is interpolated by the parabola through the peak and its neighbours.
fn first_period(line: &[f64], reach: usize) -> Option<f64> {
    let likeness: Vec<f64> = (0..line.len() / 2)
        .map(|shift| {
            let pairs = line.iter().zip(&line[shift..]);
            pairs.map(|(a, b)| a * b).sum::<f64>() / as_f64(line.len() - shift)
        })
        .collect();
    let zero = likeness.iter().position(|&value| value < 0.0)?;
    let end = (zero + reach).min(likeness.len() - 1);
    let highest = likeness.get(zero..end)?.iter().copied().max_by(f64::total_cmp)?;
    // Twice the distance is nearly as similar, or with noise even more similar, so the first high peak counts.
    let peak = (zero..end).find(|&shift| {
        likeness[shift] >= NEARLY * highest
            && likeness[shift] >= likeness[shift - 1]
            && likeness[shift] >= likeness[shift + 1]
    })?;
    let (before, at, after) = (likeness[peak - 1], likeness[peak], likeness[peak + 1]);
    let bend = 2.0f64.mul_add(-at, before + after);
    (at > 0.0 && bend < 0.0).then(|| as_f64(peak) + (before - after) / (2.0 * bend))
}

fn brightest(pixel: [u8; 3]) -> f64 {
    f64::from(pixel.into_iter().max().unwrap_or_default())
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("pictures are small"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_distance_is_found_between_pixels_and_on_a_glow() {
        for spacing in [17.3, 30.0, 42.43, 60.0] {
            let found = rings(spacing).ring_spacing().unwrap();
            assert!((found / spacing - 1.0).abs() < 0.01, "{found} is not {spacing}");
        }
    }

    #[test]
    fn picture_without_repetition_has_no_ring_distance() {
        assert_eq!(Image::new(640, vec![[9, 9, 9]; 640 * 360]).ring_spacing(), None);
    }

    /// Draws rings around the centre, on a glow that fades towards the edge.
    fn rings(spacing: f64) -> Image {
        let pixels = (0..360 * 640).map(|at| {
            let (x, y) = (f64::from(at % 640) - 319.5, f64::from(at / 640) - 179.5);
            let away = x.hypot(y);
            let wave = (away / spacing * std::f64::consts::TAU).cos();
            let value = (-away / 300.0).exp() * 60.0f64.mul_add(wave, 120.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let value = value as u8;
            [value / 2, 0, value]
        });
        Image::new(640, pixels.collect())
    }
}
