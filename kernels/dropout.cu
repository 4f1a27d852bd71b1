// Dropout masks, bit for bit those of `nnaccel.dropout`.

struct Words { unsigned a, b; };

__device__ inline Words mix(Words w, int rotation) {
  const unsigned a = w.a + w.b;
  return {a, ((w.b << rotation) | (w.b >> (32 - rotation))) ^ a};
}

// 13 rounds of Threefry-2x32 (Salmon et al., SC 2011).
__device__ inline Words threefry2x32(unsigned key_0, unsigned key_1, Words w) {
  const unsigned keys[3] = {key_0, key_1, key_0 ^ key_1 ^ 0x1BD11BDAu};
  const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  w = {w.a + key_0, w.b + key_1};
#pragma unroll
  for (int i = 0; i < 13; i++) {
    w = mix(w, rotations[i % 8]);
    if (i % 4 == 3) {
      const int injection = i / 4 + 1;
      w = {w.a + keys[injection % 3], w.b + keys[(injection + 1) % 3] + injection};
    }
  }
  return w;
}

// out = values times their mask, which is 0 where dropped, else 65536 / (65536 - threshold); out may be values.
//
// `layer` is the place among the layers that drop, `first_row` the place of the first row within its batch. Blocks are
// WARP x (THREADS / WARP), along groups of four units, which share their random bits, and rows.
extern "C" __global__ void drop(
    const Slice* slice, int layer, int first_row, int rows, int units, const REAL* values, REAL* out) {
  const MaskNumbers* masks = behind<const MaskNumbers>(slice, slice->masks);
  const MaskNumbers mask = masks[(long long)slice->step * slice->dropping + layer];
  const REAL kept = REAL(65536.0 / (65536.0 - mask.threshold));
  for (int r = blockIdx.y * blockDim.y + threadIdx.y; r < rows; r += gridDim.y * blockDim.y) {
    const long long start = (long long)r * units;
    for (int block = blockIdx.x * WARP + threadIdx.x; 4 * block < units; block += gridDim.x * WARP) {
      const Words words = threefry2x32(mask.key_0, mask.key_1, {(unsigned)(first_row + r), (unsigned)block});
      const unsigned lanes[4] = {words.a & 0xFFFFu, words.a >> 16, words.b & 0xFFFFu, words.b >> 16};
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const int unit = 4 * block + k;
        // A product also where dropped: 0 * NaN is NaN, and a training that diverges must show.
        if (unit < units) out[start + unit] = values[start + unit] * (lanes[k] >= mask.threshold ? kept : REAL(0));
      }
    }
  }
}
