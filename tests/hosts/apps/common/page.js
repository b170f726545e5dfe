// An application in a page: the address of the server is in that of the page.
import { exercise } from "./exercise.js";

exercise(new URLSearchParams(location.search).get("api"));
