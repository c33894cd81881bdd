#!/bin/sh
# The main job from end to end, on drawings that the program makes itself. Usage: demo.sh FOLDER
set -eu
demo=${1:-demo}
say() {
    printf '\n$'
    for word; do case $word in *' '*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
    printf '\n'
    "$@"
}

rm -rf "$demo"
mkdir -p "$demo"
say engine sample "$demo/look-book" --count 400
say engine ingest "$demo/look-book" --store "$demo/store"
say engine query "a woman in a blue dress" --store "$demo/store" -k 5 --no-pictures --html "$demo/blue-dress.html"
say engine query "long sleeve denim" --where gender=men --store "$demo/store" -k 3 --no-pictures
say engine facets upper_pattern upper_fabric sleeve_length --store "$demo/store"
# all of them: the bundled checkpoint was trained on drawings of another seed
printf '\n$ engine eval %s/look-book --part all --store %s/store --out %s/report\n' "$demo" "$demo" "$demo"
engine eval "$demo/look-book" --part all --store "$demo/store" --out "$demo/report" > "$demo/eval.txt"
sed -n '1,40p' "$demo/eval.txt"

printf '\nOpen these:\n'
printf '  %s\n' "$PWD/$demo/blue-dress.html" "$PWD/$demo/report/report.html" "$PWD/$demo/look-book/images"
