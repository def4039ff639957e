//! The ratios as a picture: a bar for each figure that open_port or the C-node has too, to the right of the middle
//! where erluv is better. The scale is logarithmic: half as much and twice as much are as far from the middle.

use crate::machine::Machine;
use crate::metrics::Better;
use crate::results::{Line, Results};
use crate::system::Kind;

const LABEL: f64 = 470.0;
const HALF: f64 = 260.0;
const HEIGHT: f64 = 26.0;
const TOP: f64 = 64.0;
/// The factor at the ends of the scale.
const MOST: f64 = 8.0;

/// The whole file.
pub(crate) fn picture(machine: &Machine, results: &Results) -> String {
    let lines = results.lines.iter().filter_map(|line| {
        let better = |kind| {
            let ratio = results.ratio(line, kind).filter(|ratio| *ratio > 0.0)?;
            Some(if line.metric.better == Better::More { ratio } else { 1.0 / ratio })
        };
        let (port, limit) = (better(Kind::Port), better(Kind::Limit));
        (port.is_some() || limit.is_some()).then_some((line, port, limit))
    });
    let bars = lines.enumerate().map(|(place, (line, port, limit))| bar(place, line, port, limit)).collect::<Vec<_>>();
    let (width, height) = (LABEL + 2.0 * HALF + 60.0, TOP + HEIGHT * bars.len() as f64 + 20.0);
    let head = format!(
        "{}, {} cores, Linux {}, OTP {}, {}",
        machine.cpu, machine.cores, machine.kernel, machine.otp, machine.date
    );
    let mut text = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="#ffffff"/>
<text x="10" y="20" font-size="15">erluv against open_port (dark) and the bare C-node (light): to the right erluv is better</text>
<text x="10" y="38" fill="#555555">{}</text>
"##,
        escaped(&head)
    );
    for (factor, name) in [(0.125, "1/8"), (0.25, "1/4"), (0.5, "1/2"), (1.0, "1"), (2.0, "2"), (4.0, "4"), (8.0, "8")]
    {
        let (x, top, bottom) = (place_of(factor), TOP - 6.0, height - 14.0);
        let colour = if factor == 1.0 { "#333333" } else { "#dddddd" };
        text.push_str(&format!(
            "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\">{name}</text>\n",
            TOP - 10.0
        ));
    }
    text.push_str(&bars.concat());
    text.push_str("</svg>\n");
    text
}

/// Where a factor is, from left to right.
fn place_of(factor: f64) -> f64 {
    let part = factor.clamp(1.0 / MOST, MOST).log2() / MOST.log2();
    LABEL + HALF + HALF * part
}

fn bar(place: usize, line: &Line, port: Option<f64>, limit: Option<f64>) -> String {
    let y = TOP + HEIGHT * place as f64;
    let label = format!("{}: {} ({})", line.work, line.metric.title, line.mode.name());
    let mut text = format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
        LABEL - 10.0,
        y + 14.0,
        escaped(&label)
    );
    for (factor, down, colour) in [(port, 1.0, "#2b5c8a"), (limit, 11.0, "#a9c8e3")] {
        let Some(factor) = factor else { continue };
        let (from, to) = (place_of(1.0), place_of(factor));
        text.push_str(&format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"9\" fill=\"{colour}\"><title>{factor:.2}</title></rect>\n",
            from.min(to),
            y + down,
            (to - from).abs().max(1.0)
        ));
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_and_half_are_as_far_from_the_middle_and_nothing_is_beyond_the_ends() {
        let middle = place_of(1.0);
        assert!((place_of(2.0) - middle - (middle - place_of(0.5))).abs() < 1e-9);
        assert_eq!(place_of(100.0), place_of(MOST));
    }

    #[test]
    fn text_of_the_table_is_no_markup() {
        assert_eq!(escaped("a<b & c>"), "a&lt;b &amp; c&gt;");
    }
}
