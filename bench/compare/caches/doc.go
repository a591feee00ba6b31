// Package caches has no code but benchmarks: caches that a verdict could be kept in.
package caches
