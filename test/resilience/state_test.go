package resilience_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// readJSON reads the cluster's own description.
func readJSON(t *testing.T, c *testcluster.Cluster, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, "cluster.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
