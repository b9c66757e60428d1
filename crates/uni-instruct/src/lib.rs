//! One-step generators from diffusion teachers, under any f-divergence (Uni-Instruct).
