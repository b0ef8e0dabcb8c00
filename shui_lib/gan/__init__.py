"""GAN unlearning (Sun et al., arXiv 2308.09881): a small StyleGAN2 that forgets pictures, or a class, by a cascade."""
