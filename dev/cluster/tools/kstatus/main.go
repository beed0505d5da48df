// kstatus reads JSON objects, one a line, and writes for each what kstatus makes of it: the library by which
// Flux, and Helm from version 4 on, tell whether an object is as it was asked for.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
)

func main() {
	objects, verdicts := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var text json.RawMessage
		if err := objects.Decode(&text); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			fail(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil { // which tells integers from floats
			fail(err)
		}
		result, err := status.Compute(object)
		if err != nil {
			fail(err)
		}
		verdict := map[string]string{"status": result.Status.String(), "message": result.Message}
		if err := verdicts.Encode(verdict); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
