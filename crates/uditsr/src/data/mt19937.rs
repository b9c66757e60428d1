//! The random numbers of the authors' program, bit for bit.
//!
//! Their negatives come from `random.choice` of CPython and their order of rows from
//! `numpy.random.shuffle`. Both are the generator MT19937 (Matsumoto and Nishimura 1998) with
//! different seedings.

const N: usize = 624;
const M: usize = 397;

/// MT19937 with the seedings and the two draws of the authors' program.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// As after `random.seed(seed)` in Python.
    pub fn python(seed: u64) -> Self {
        let mut key = vec![seed as u32];
        if seed >> 32 != 0 {
            key.push((seed >> 32) as u32);
        }
        let mut this = Self::numpy(19_650_218);
        let state = &mut this.state;
        let mix = |state: &[u32; N], i: usize, factor: u32| {
            let last = state[i - 1];
            state[i] ^ (last ^ (last >> 30)).wrapping_mul(factor)
        };
        let mut i = 1;
        for j in 0..N {
            let j = j % key.len();
            state[i] = mix(state, i, 1_664_525).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            state[i] = mix(state, i, 1_566_083_941).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        this
    }

    /// As after `numpy.random.seed(seed)`.
    pub fn numpy(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `random.choice(range(n))` of Python.
    ///
    /// # Panics
    /// When `n` is zero.
    pub fn choice(&mut self, n: u32) -> u32 {
        assert!(n > 0, "an empty range has no element");
        let shift = n.leading_zeros();
        loop {
            let draw = self.next_u32() >> shift;
            if draw < n {
                return draw;
            }
        }
    }

    /// `numpy.random.shuffle` of a list.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let mask = u32::MAX >> (i as u32).leading_zeros();
            let j = loop {
                let draw = self.next_u32() & mask;
                if draw <= i as u32 {
                    break draw;
                }
            };
            list.swap(i, j as usize);
        }
    }

    fn twist(&mut self) {
        for k in 0..N {
            let y = (self.state[k] & 0x8000_0000) | (self.state[(k + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[k] = self.state[(k + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}
