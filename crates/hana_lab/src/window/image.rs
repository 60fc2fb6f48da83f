use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::{fmt, fs};

/// A picture: rows of pixels from the top left, each with red, green and blue from 0 to 255.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Image {
    /// Creates a picture of `width` columns from its pixels, row by row.
    #[must_use]
    pub fn new(width: usize, pixels: Vec<[u8; 3]>) -> Self {
        assert!(
            width > 0 && pixels.len().is_multiple_of(width),
            "the rows of a picture are equally long"
        );
        Self { width, height: pixels.len() / width, pixels }
    }

    /// Returns the width in pixels.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Returns the height in pixels.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Returns a pixel as red, green and blue.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        self.row(y)[x]
    }

    /// Returns a row of pixels, from left to right.
    #[must_use]
    pub fn row(&self, y: usize) -> &[[u8; 3]] {
        &self.pixels[y * self.width..][..self.width]
    }

    /// Returns the part whose top left corner is at `x`, `y`.
    #[must_use]
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        assert!(
            x + width <= self.width && y + height <= self.height,
            "{width}x{height} at {x},{y} is not within {self:?}"
        );
        let rows = (y..y + height).flat_map(|row| &self.row(row)[x..x + width]);
        Self::new(width, rows.copied().collect())
    }

    /// Returns the mean hue in degrees: 0 red, 120 green, 240 blue.
    ///
    /// It is the direction of the sum of all hues, each weighted by the saturation of its pixel, so that black, grey
    /// and white pixels do not count. Returns `None` if all pixels are grey, or the colours cancel out.
    #[must_use]
    pub fn mean_hue(&self) -> Option<f64> {
        let (mut x, mut y) = (0.0, 0.0);
        for pixel in &self.pixels {
            let [red, green, blue] = pixel.map(f64::from);
            // The three primary colours are directions 120 degrees apart, so the vector contains hue and saturation.
            x += red - f64::midpoint(green, blue);
            y += (green - blue) * (3.0_f64.sqrt() / 2.0);
        }
        (x.hypot(y) > 1e-6).then(|| y.atan2(x).to_degrees().rem_euclid(360.0))
    }

    /// Returns the mean brightness, 0 to 1.
    #[must_use]
    pub fn mean_brightness(&self) -> f64 {
        mean(&self.pixels)
    }

    /// Returns the brightness of each pixel of a row, 0 to 1, as a profile for measuring distances.
    #[must_use]
    pub fn brightness_of_row(&self, y: usize) -> Vec<f64> {
        self.row(y).iter().map(|pixel| mean(std::slice::from_ref(pixel))).collect()
    }

    /// Writes the picture as a PNG file, and creates the folder if necessary.
    pub fn save_png(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        }
        let file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let size = |length| u32::try_from(length).expect("pictures are small");
        let mut encoder =
            png::Encoder::new(BufWriter::new(file), size(self.width), size(self.height));
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(self.pixels.as_flattened()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a picture of {}x{}, mean hue {:?}", self.width, self.height, self.mean_hue())
    }
}

fn mean(pixels: &[[u8; 3]]) -> f64 {
    let sum: u32 = pixels.as_flattened().iter().map(|&part| u32::from(part)).sum();
    let parts = u32::try_from(3 * pixels.len()).expect("pictures are small");
    f64::from(sum) / f64::from(parts) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_hue_wraps_around_the_circle_and_ignores_grey() {
        let hue = |pixels: &[[u8; 3]]| Image::new(pixels.len(), pixels.to_vec()).mean_hue();
        let close = |found: Option<f64>, wanted: f64| {
            let away = (found.unwrap() - wanted).abs();
            assert!(away.min(360.0 - away) < 1e-6, "{found:?} is not {wanted}");
        };
        close(hue(&[[255, 0, 0]]), 0.0);
        close(hue(&[[0, 90, 0], [7, 7, 7], [255, 255, 255]]), 120.0);
        close(hue(&[[0, 0, 200]]), 240.0);
        close(hue(&[[200, 200, 0], [200, 0, 200]]), 0.0);
        assert_eq!(hue(&[[5, 5, 5]]), None);
    }

    #[test]
    fn crop_returns_the_requested_part() {
        let image = Image::new(3, (0..9).map(|n| [n, n, n]).collect());
        assert_eq!(image.crop(1, 1, 2, 2), Image::new(2, [4, 5, 7, 8].map(|n| [n, n, n]).to_vec()));
        assert_eq!(image.pixel(2, 1), [5, 5, 5]);
    }
}
