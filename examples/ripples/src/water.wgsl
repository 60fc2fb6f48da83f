// Rings of light on dark water. Lengths are counted in rings unless stated otherwise.

#import bevy_sprite::mesh2d_vertex_output::VertexOutput
#import bevy_sprite::mesh2d_view_bindings::view

struct Light {
    // The lesser sources: position (x, y), density, number of waves that have left the source.
    lesser: array<vec4<f32>, 4>,
    // Distance between two rings, in window heights.
    spacing: f32,
    // Number of rings that have left the centre.
    phase: f32,
    // Rotation of the colour wheel, in whole turns.
    hue: f32,
    // Brightness, 0..1, or more on a beat.
    glow: f32,
}

@group(#{MATERIAL_BIND_GROUP}) @binding(0) var<uniform> light: Light;

const TAU: f32 = 6.2831853;

// Returns how a source bends the surface at the distance `d` from it: curvature xx, xy, yy, and the height.
fn wave(d: vec2<f32>, density: f32, turns: f32) -> vec4<f32> {
    // The distance is rounded off near the source, where the curvature would have no direction.
    let l2 = dot(d, d) + 0.03;
    let per_l = inverseSqrt(l2);
    let n = d * per_l;
    return vec4(n.x * n.x, n.x * n.y, n.y * n.y, 1.0) * cos(TAU * (density * l2 * per_l - turns));
}

fn lesser_wave(q: vec2<f32>, source: vec4<f32>) -> vec4<f32> {
    return wave(q - source.xy, source.z, source.w);
}

fn hsv_to_srgb(hue: f32, saturation: f32, value: f32) -> vec3<f32> {
    let ramp = abs(fract(vec3(hue) + vec3(1.0, 2.0 / 3.0, 1.0 / 3.0)) * 6.0 - 3.0) - 1.0;
    return value * mix(vec3(1.0), saturate(ramp), saturation);
}

fn srgb_to_linear(c: vec3<f32>) -> vec3<f32> {
    return select(pow((c + 0.055) / 1.055, vec3(2.4)), c / 12.92, c <= vec3(0.04045));
}

// Returns a fixed pattern of up to half a step of eight bits in each direction, which prevents banding in dark
// gradients.
fn grain(at: vec2<f32>) -> f32 {
    return (fract(52.9829189 * fract(dot(at, vec2(0.06711056, 0.00583715)))) - 0.5) / 255.0;
}

@fragment
fn fragment(in: VertexOutput) -> @location(0) vec4<f32> {
    let size = view.viewport.zw;
    // The position in window heights, from the centre.
    let p = (in.position.xy - 0.5 * size) * vec2(1.0, -1.0) / size.y;
    let q = p / light.spacing;
    let r2 = dot(q, q);

    // On the horizontal axis, only the source in the centre has an effect, since the others fade towards the axis.
    // The rings have their exact distance there.
    let rings = wave(q, 1.0, light.phase);
    let web = 0.12 + 0.88 * q.y * q.y / (r2 + 0.5);
    let water = 0.84 * rings + web * (
        0.58 * lesser_wave(q, light.lesser[0]) +
        0.52 * lesser_wave(q, light.lesser[1]) +
        0.30 * lesser_wave(q, light.lesser[2]) +
        0.24 * lesser_wave(q, light.lesser[3])
    );

    // The surface bends the light like a lens. Where the determinant of that bending passes zero, the rays meet in
    // bright threads. The height adds a soft glow around the crests.
    let spread = abs((1.0 - water.x) * (1.0 - water.z) - water.y * water.y);
    let thread = 0.24 / (spread + 0.105);
    let halo = exp(1.15 * (water.w - 1.0));
    let edge = length(p * vec2(0.8, 1.0));
    let reach = exp(-0.8 * edge * edge);
    let heart = exp(-0.3 * r2);
    let power = reach * (1.1 * thread * thread + 0.24 * halo) + 0.3 * heart + 0.006;

    // The colour is chosen in HSV of sRGB, so that `light.hue` turns every pixel by the same angle. It is violet in
    // the dark, cyan and then white where the light is strong, and magenta towards the edge.
    let heat = power / (power + 1.2);
    let hue = 0.66 - 0.19 * heat + 0.045 * (rings.w - water.w) * web + 0.19 * smoothstep(0.12, 1.0, edge);
    let saturation = 0.92 - 0.86 * heat * heat;
    let vignette = 1.0 - 0.85 * smoothstep(0.4, 1.05, edge);
    let value = (1.0 - exp(-2.0 * light.glow * power)) * vignette;
    let dithered = select(0.0, saturate(value + grain(in.position.xy)), light.glow > 0.0);

    return vec4(srgb_to_linear(hsv_to_srgb(hue + light.hue, saturation, dithered)), 1.0);
}
