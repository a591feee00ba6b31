package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// rekor1 is the front of a transparency log of Rekor's first version, whose own server wants a database: it enters what
// cosign proposes, and answers with a promise (SET) and a proof of inclusion in the tree of all entries so far.
type rekor1 struct {
	server *httptest.Server
	key    *ecdsa.PrivateKey
	id     [sha256.Size]byte // of the key

	mu     sync.Mutex
	leaves [][sha256.Size]byte
}

func startRekor1() (*rekor1, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	l := &rekor1{key: key, id: sha256.Sum256(public)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/log/entries", l.create)
	l.server = httptest.NewServer(mux)
	return l, nil
}

func (l *rekor1) create(w http.ResponseWriter, r *http.Request) {
	body, err := canonicalEntry(r)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]any{"code": http.StatusBadRequest, "message": err.Error()})
		return
	}
	uuid, entry, err := l.enter(body)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]any{"code": http.StatusInternalServerError, "message": err.Error()})
		return
	}
	w.Header().Set("Location", "/api/v1/log/entries/"+uuid)
	w.Header().Set("ETag", uuid)
	writeJSON(w, http.StatusCreated, map[string]any{uuid: entry})
}

// canonicalEntry reads a proposed entry, and returns what the log keeps of it: JSON with sorted keys. Of an envelope
// (kind dsse) these are its hashes and signatures.
func canonicalEntry(r *http.Request) ([]byte, error) {
	var entry map[string]any
	if err := json.NewDecoder(r.Body).Decode(&entry); err != nil {
		return nil, err
	}
	switch entry["kind"] {
	case "hashedrekord":
	case "dsse":
		spec, _ := entry["spec"].(map[string]any)
		proposed, _ := spec["proposedContent"].(map[string]any)
		text, _ := proposed["envelope"].(string)
		verifiers, _ := proposed["verifiers"].([]any)
		var envelope struct {
			Payload    []byte
			Signatures []struct{ Sig string }
		}
		if err := json.Unmarshal([]byte(text), &envelope); err != nil {
			return nil, err
		}
		if len(envelope.Signatures) != 1 || len(verifiers) != 1 {
			return nil, fmt.Errorf("%d signatures of %d signers", len(envelope.Signatures), len(verifiers))
		}
		hash := func(content []byte) any {
			sum := sha256.Sum256(content)
			return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
		}
		entry["spec"] = map[string]any{
			"envelopeHash": hash([]byte(text)), "payloadHash": hash(envelope.Payload),
			"signatures": []any{map[string]any{"signature": envelope.Signatures[0].Sig, "verifier": verifiers[0]}},
		}
	default:
		return nil, fmt.Errorf("an entry of kind %v", entry["kind"])
	}
	return json.Marshal(entry)
}

// enter appends an entry, and returns what the log says of it.
func (l *rekor1) enter(body []byte) (uuid string, entry any, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	leaf := sha256.Sum256(append([]byte{0}, body...))
	index := len(l.leaves)
	l.leaves = append(l.leaves, leaf)
	root := treeHash(l.leaves)
	hashes := []string{}
	for _, h := range treePath(index, l.leaves) {
		hashes = append(hashes, hex.EncodeToString(h[:]))
	}
	checkpoint, err := l.checkpoint(root)
	if err != nil {
		return "", nil, err
	}
	promised := map[string]any{ // which Marshal writes in the order of RFC 8785
		"body": body, "integratedTime": time.Now().Unix(), "logID": hex.EncodeToString(l.id[:]), "logIndex": index,
	}
	set, err := json.Marshal(promised)
	if err != nil {
		return "", nil, err
	}
	promise, err := l.sign(set)
	if err != nil {
		return "", nil, err
	}
	promised["verification"] = map[string]any{
		"signedEntryTimestamp": promise,
		"inclusionProof": map[string]any{
			"checkpoint": checkpoint, "hashes": hashes, "logIndex": index, "rootHash": hex.EncodeToString(root[:]),
			"treeSize": len(l.leaves),
		},
	}
	return hex.EncodeToString(leaf[:]), promised, nil
}

func (l *rekor1) sign(what []byte) ([]byte, error) {
	digest := sha256.Sum256(what)
	return ecdsa.SignASN1(rand.Reader, l.key, digest[:])
}

// checkpoint is the tree's head as a signed note, with the first four bytes of the key's hash to know the key by. A
// number in its origin is what tells that it is of the first version.
func (l *rekor1) checkpoint(root [sha256.Size]byte) (string, error) {
	const host = "rekor.e2e.test"
	note := fmt.Sprintf("%s - 1234567890\n%d\n%s\n", host, len(l.leaves), base64.StdEncoding.EncodeToString(root[:]))
	signature, err := l.sign([]byte(note))
	if err != nil {
		return "", err
	}
	line := append(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(l.id[:])), signature...)
	return fmt.Sprintf("%s\n\u2014 %s %s\n", note, host, base64.StdEncoding.EncodeToString(line)), nil
}

// treeHash and treePath are those of RFC 6962, section 2.1.

func treeHash(leaves [][sha256.Size]byte) [sha256.Size]byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := split(len(leaves))
	left, right := treeHash(leaves[:k]), treeHash(leaves[k:])
	return sha256.Sum256([]byte(strings.Join([]string{"\x01", string(left[:]), string(right[:])}, "")))
}

func treePath(index int, leaves [][sha256.Size]byte) [][sha256.Size]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if index < k {
		return append(treePath(index, leaves[:k]), treeHash(leaves[k:]))
	}
	return append(treePath(index-k, leaves[k:]), treeHash(leaves[:k]))
}

// split is the largest power of two that is less than n, which is at least 2.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}
