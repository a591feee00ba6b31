// Package codecs has no code but benchmarks: ways to read a review and write its reply.
package codecs
