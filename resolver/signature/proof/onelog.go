package proof

import (
	"crypto"
	"encoding/hex"
	"errors"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// differentLogs refuses two entries of one log. sigstore-go tells logs apart by their IDs, of which one key can have
// several, one for each version of Rekor. An ID is not part of what Rekor v2 signs, so that anyone could make two entries
// of one.
func differentLogs(entries []*tlog.Entry, material root.TrustedMaterial) error {
	var keys []crypto.PublicKey
	for _, entry := range entries {
		log, ok := material.RekorLogs()[hex.EncodeToString([]byte(entry.LogKeyID()))]
		if !ok {
			continue
		}
		for _, before := range keys {
			if same, ok := before.(interface{ Equal(crypto.PublicKey) bool }); !ok || same.Equal(log.PublicKey) {
				return errors.New("it has two entries of one log")
			}
		}
		keys = append(keys, log.PublicKey)
	}
	return nil
}
