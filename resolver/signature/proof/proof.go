// Package proof judges single signatures: by whom, when, over what.
//
// It decides whether an [attached.Item] was made with the material of an [engine.Trust], over a claim for one digest.
// It trusts that material, and nothing in the item: what a certificate, a log entry or a payload says counts once a
// signature that chains up to the material covers it. It never contacts anything, reads no environment and no clock
// but the system's, and a panic in a parser below it is an error here.
package proof
